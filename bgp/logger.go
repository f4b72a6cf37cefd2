package bgp

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	gobgp "github.com/osrg/gobgp/v3/pkg/log"
)

// logger takes what one peer's GoBGP server logs. The relay knows better what goes on: all but errors is
// for debugging.
type logger struct{ log *slog.Logger }

func (l *logger) Debug(msg string, fields gobgp.Fields) { l.write(slog.LevelDebug, msg, fields) }
func (l *logger) Info(msg string, fields gobgp.Fields)  { l.write(slog.LevelDebug, msg, fields) }
func (l *logger) Warn(msg string, fields gobgp.Fields)  { l.write(slog.LevelDebug, msg, fields) }
func (l *logger) Error(msg string, fields gobgp.Fields) { l.write(slog.LevelError, msg, fields) }

// Fatal is for broken invariants, like Panic; GoBGP expects neither to return.
func (l *logger) Fatal(msg string, fields gobgp.Fields) { l.Panic(msg, fields) }

func (l *logger) Panic(msg string, fields gobgp.Fields) {
	l.write(slog.LevelError, msg, fields)
	panic("gobgp: " + msg)
}

func (l *logger) SetLevel(gobgp.LogLevel) {}

func (l *logger) GetLevel() gobgp.LogLevel {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		return gobgp.DebugLevel
	}
	return gobgp.ErrorLevel
}

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
