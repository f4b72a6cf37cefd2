package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// printer tells the story. Colours only on a terminal, and not with NO_COLOR (https://no-color.org).
type printer struct {
	w      io.Writer
	colour bool
	start  time.Time
	step   int
	checks int
}

const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
	cyan  = "36"
)

func newPrinter(w io.Writer) *printer {
	return &printer{w: w, start: time.Now(), colour: terminal(w) && os.Getenv("NO_COLOR") == ""}
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

func (p *printer) paint(code, text string) string {
	if !p.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// title opens a step.
func (p *printer) title(format string, args ...any) {
	p.step++
	text := fmt.Sprintf("%d. %s", p.step, fmt.Sprintf(format, args...))
	fmt.Fprintf(p.w, "\n%s\n", p.paint(bold, text))
}

// line tells what happens.
func (p *printer) line(format string, args ...any) {
	fmt.Fprintf(p.w, "   %s\n", fmt.Sprintf(format, args...))
}

// output shows a command and what it printed, at most max lines of it.
func (p *printer) output(host, command, text string, max int) {
	fmt.Fprintf(p.w, "   %s\n", p.paint(cyan, host+"# "+command))
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, l := range lines {
		if i == max {
			fmt.Fprintf(p.w, "   %s\n", p.paint(dim, fmt.Sprintf("│ … %d more lines", len(lines)-max)))
			return
		}
		fmt.Fprintf(p.w, "   %s%s\n", p.paint(dim, "│ "), strings.TrimRight(strings.ReplaceAll(l, "\t", "  "), " "))
	}
}

// ok is a check that held.
func (p *printer) ok(format string, args ...any) {
	p.checks++
	fmt.Fprintf(p.w, "   %s %s\n", p.paint(green, "✓"), fmt.Sprintf(format, args...))
}

func (p *printer) bad(format string, args ...any) {
	fmt.Fprintf(p.w, "   %s %s\n", p.paint(red, "✗"), fmt.Sprintf(format, args...))
}

// detail is for what a failure prints beyond its sentence.
func (p *printer) detail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	fmt.Fprintf(p.w, "     %s\n", p.paint(dim, strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n     ")))
}

func (p *printer) end() {
	fmt.Fprintf(p.w, "\n%s\n", p.paint(bold, fmt.Sprintf("All %d checks held, in %s. Nothing is left behind.", p.checks, seconds(time.Since(p.start)))))
}

func seconds(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
