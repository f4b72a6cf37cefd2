package bgp

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	gobgp "github.com/osrg/gobgp/v3/pkg/log"
	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"
)

// logger takes what one peer's GoBGP server logs: it keeps the peer's history from it and passes the
// rest on with noise demoted to debug.
type logger struct {
	log      *slog.Logger
	history  *history
	password bool

	// refusal is what we sent instead of accepting the peer's OPEN. GoBGP logs it before the change
	// of state that it causes, never at the same time.
	refusal string
}

// harmless are warnings that belong to ordinary operation.
var harmless = []string{
	"No matching path for withdraw found, may be path was not installed into table",
	"Closed an accepted connection",
	"sent notification",
	"received notification",
	"failed to send",
	"Can't find the neighbor",
	// Said of every router that did not restart itself.
	"restart flag is not set",
}

var (
	established = packet.BGP_FSM_ESTABLISHED.String()
	openSent    = packet.BGP_FSM_OPENSENT.String()
	openConfirm = packet.BGP_FSM_OPENCONFIRM.String()
	idle        = packet.BGP_FSM_IDLE.String()
)

// invalidMessage is GoBGP's reason for a notification during the handshake, ours and the peer's alike;
// it does not keep the notification.
const invalidMessage = "invalid-msg"

func (l *logger) Debug(msg string, fields gobgp.Fields) {
	switch msg {
	case "state changed":
		l.stateChanged(fmt.Sprint(fields["old"]), fmt.Sprint(fields["new"]), fmt.Sprint(fields["reason"]))
	case "failed to connect":
		l.failed(connectText(fmt.Sprint(fields["Error"]), l.password))
	}
	l.write(slog.LevelDebug, msg, fields)
}

func (l *logger) stateChanged(from, to, reason string) {
	switch {
	case to == established:
		l.history.up(time.Now())
		l.log.Info("BGP session established")
	case from == established:
		reason = reasonText(reason)
		l.history.down(time.Now(), reason)
		l.log.Warn("BGP session lost", "reason", reason)
	case from == openConfirm && to == idle && reason == invalidMessage:
		l.failed("the peer refused our OPEN: compare both ASNs with the router's; its log has the reason")
	case from == openSent && to == idle && reason == invalidMessage:
		l.failed("refused the peer's OPEN: " + l.refusal)
	case to == idle && from != idle:
		l.failed(reasonText(reason))
	}
}

// failed says why an attempt to open the session ended, once for attempts that end alike.
func (l *logger) failed(reason string) {
	if l.history.down(time.Now(), reason) {
		l.log.Warn("BGP session does not come up", "reason", reason)
	}
}

// Info is demoted: what matters of it is logged by stateChanged.
func (l *logger) Info(msg string, fields gobgp.Fields) { l.write(slog.LevelDebug, msg, fields) }

func (l *logger) Warn(msg string, fields gobgp.Fields) {
	level := slog.LevelWarn
	if slices.Contains(harmless, msg) {
		level = slog.LevelDebug
	}
	if sent, ok := fields["Data"].(*packet.MessageError); ok {
		l.refusal = sent.Message
	}
	l.write(level, msg, fields)
}

func (l *logger) Error(msg string, fields gobgp.Fields) { l.write(slog.LevelError, msg, fields) }

// Fatal is for broken invariants, like Panic; GoBGP expects neither to return.
func (l *logger) Fatal(msg string, fields gobgp.Fields) { l.Panic(msg, fields) }

func (l *logger) Panic(msg string, fields gobgp.Fields) {
	l.write(slog.LevelError, msg, fields)
	panic("gobgp: " + msg)
}

func (l *logger) SetLevel(gobgp.LogLevel) {}

// GetLevel asks for everything: the history needs debug messages whatever is written.
func (l *logger) GetLevel() gobgp.LogLevel { return gobgp.DebugLevel }

func (l *logger) write(level slog.Level, msg string, fields gobgp.Fields) {
	ctx := context.Background()
	if !l.log.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, len(fields)+1)
	attrs = append(attrs, slog.String("event", msg))
	for key, value := range fields {
		// The peer is known, and a topic says what the message says.
		if key != "Key" && key != "Topic" {
			attrs = append(attrs, slog.String(key, fmt.Sprint(value)))
		}
	}
	slices.SortFunc(attrs[1:], func(a, b slog.Attr) int { return strings.Compare(a.Key, b.Key) })
	l.log.LogAttrs(ctx, level, "gobgp", attrs...)
}
