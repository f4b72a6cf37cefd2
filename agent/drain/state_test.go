package drain

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var start = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func ask(by By, after, timeout time.Duration) Ask {
	return Ask{By: by, Since: start.Add(after), Timeout: timeout}
}

func TestStages(t *testing.T) {
	type step struct {
		after   time.Duration // since the start
		asks    []Ask
		packets uint64
		want    Stage
		expired bool
	}
	long := []Ask{ask(Command, 0, time.Minute)}
	for _, tt := range []struct {
		name  string
		from  Stage
		steps []step
	}{
		{"traffic ceases", Announced, []step{
			{0, nil, 10, Announced, false},
			{0, long, 10, GracefulShutdown, false},
			{900 * time.Millisecond, long, 11, GracefulShutdown, false},
			{1800 * time.Millisecond, long, 11, GracefulShutdown, false},
			{1900 * time.Millisecond, long, 11, Withdrawn, false},
			{5 * time.Second, long, 99, Withdrawn, false},
		}},
		{"no traffic at all still gives routers the time to hear of it", Announced, []step{
			{0, long, 10, GracefulShutdown, false},
			{Quiet - 1, long, 10, GracefulShutdown, false},
			{Quiet, long, 10, Withdrawn, false},
		}},
		{"the deadline", Announced, []step{
			{0, []Ask{ask(Node, 0, 2*time.Second)}, 10, GracefulShutdown, false},
			{1500 * time.Millisecond, []Ask{ask(Node, 0, 2*time.Second)}, 20, GracefulShutdown, false},
			{2 * time.Second, []Ask{ask(Node, 0, 2*time.Second)}, 30, Withdrawn, true},
		}},
		{"a second ask has less time", Announced, []step{
			{0, long, 10, GracefulShutdown, false},
			{time.Second / 2, append(long[:1:1], ask(Shutdown, 0, time.Second)), 20, GracefulShutdown, false},
			{time.Second, append(long[:1:1], ask(Shutdown, 0, time.Second)), 30, Withdrawn, true},
		}},
		{"one ask of two is taken back", Announced, []step{
			{0, append(long[:1:1], ask(Node, 0, time.Minute)), 10, GracefulShutdown, false},
			{time.Second, long, 10, Withdrawn, false},
			{2 * time.Second, []Ask{ask(Node, 0, time.Minute)}, 10, Withdrawn, false},
			{3 * time.Second, nil, 10, Announced, false},
		}},
		{"taken back before the routes went", Announced, []step{
			{0, long, 10, GracefulShutdown, false},
			{time.Second / 2, nil, 10, Announced, false},
			{time.Second, []Ask{ask(Command, time.Second, time.Minute)}, 10, GracefulShutdown, false},
			{1900 * time.Millisecond, []Ask{ask(Command, time.Second, time.Minute)}, 10, GracefulShutdown, false},
		}},
		{"a node that no router knows announces nothing", "", []step{
			{0, long, 10, Withdrawn, false},
			{time.Second, nil, 10, Announced, false},
		}},
		{"a node that no router knows and that need not drain", "", []step{{0, nil, 10, Announced, false}}},
		{"counters of another program", Announced, []step{
			{0, long, 1000, GracefulShutdown, false},
			{Quiet, long, 3, GracefulShutdown, false},
			{2 * Quiet, long, 3, Withdrawn, false},
		}},
		{"a drain that began before a restart and whose time is up", Announced, []step{
			{2 * time.Minute, long, 5, GracefulShutdown, false},
			{2*time.Minute + 200*time.Millisecond, long, 6, Withdrawn, true},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := State{Stage: tt.from}
			for i, step := range tt.steps {
				now := start.Add(step.after)
				before := s.Stage
				s = s.Next(now, step.asks, step.packets)
				if s.Stage != step.want || s.Expired != step.expired {
					t.Errorf("step %d: %s, expired %v, want %s, %v", i, s.Stage, s.Expired, step.want, step.expired)
				}
				if s.Stage != before && !s.Since.Equal(now) {
					t.Errorf("step %d: %s since %s", i, s.Stage, s.Since)
				}
				if (s.Stage == Announced) != s.Began.IsZero() {
					t.Errorf("step %d: %s, began %s", i, s.Stage, s.Began)
				}
			}
		})
	}
}

// The counter is not read before a drain, so that its first value is that of all time.
func TestRateBegins(t *testing.T) {
	s := State{Stage: Announced}.Next(start, nil, 0)
	long := []Ask{ask(Command, time.Second, time.Minute)}
	if s = s.Next(start.Add(time.Second), long, 1_000_000); s.Stage != GracefulShutdown || s.Rate != 0 {
		t.Errorf("%s with %v packets per second at the beginning, want 0", s.Stage, s.Rate)
	}
	if s = s.Next(start.Add(2*time.Second), long, 1_000_100); s.Rate != 100 {
		t.Errorf("%v packets per second, want 100", s.Rate)
	}
}

func TestRate(t *testing.T) {
	s := State{Stage: Announced}.Next(start, nil, 100)
	if s = s.Next(start.Add(2*time.Second), nil, 300); s.Rate != 100 {
		t.Errorf("%v packets per second, want 100", s.Rate)
	}
	if s = s.Next(start.Add(2*time.Second), nil, 300); s.Rate != 100 {
		t.Errorf("a second look at once makes it %v", s.Rate)
	}
}

// Whatever happens: a node that is asked to drain gets there in time and not before it is quiet
// or its time is up, one that is not announces, and no stage is skipped.
func TestStagesWhateverHappens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, now, packets := State{Stage: Announced}, start, uint64(0)
		var asks []Ask
		var moved time.Time
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(1, 1500).Draw(t, "ms")) * time.Millisecond)
			if n := rapid.Uint64Range(0, 3).Draw(t, "packets"); n > 0 {
				packets, moved = packets+n, now
			}
			by := rapid.SampledFrom(Causes).Draw(t, "by")
			switch rapid.IntRange(0, 5).Draw(t, "ask") {
			case 0:
				asks = append(asks, Ask{By: by, Since: now, Timeout: time.Duration(rapid.IntRange(0, 8).Draw(t, "timeout")) * time.Second})
			case 1:
				asks = slices.DeleteFunc(asks, func(a Ask) bool { return a.By == by })
			}
			before := s
			s = s.Next(now, asks, packets)
			switch {
			case len(asks) == 0 && s.Stage != Announced:
				t.Fatalf("nobody asks, and it is %s", s.Stage)
			case len(asks) > 0 && s.Stage == Announced:
				t.Fatal("it is asked for and does nothing")
			case before.Stage == Announced && s.Stage == Withdrawn:
				t.Fatal("it skipped a stage")
			case before.Stage == Withdrawn && s.Stage == GracefulShutdown:
				t.Fatal("it went back")
			case s.Stage == GracefulShutdown && before.Stage == s.Stage && !now.Before(deadline(asks)):
				t.Fatal("its time is up")
			case before.Stage == GracefulShutdown && s.Stage == Withdrawn && now.Sub(moved) < Quiet && now.Before(deadline(asks)):
				t.Fatalf("routes went %s after a packet, before the deadline", now.Sub(moved))
			}
		}
	})
}
