package ipam

import (
	"fmt"
	"testing"
	"time"
)

// many gives claims of which some share addresses, ask for one or want two families.
func many(n int) (out []Claim) {
	for i := range n {
		c := dual(ask(fmt.Sprintf("ns%d/s%d", i%50, i)), PreferDual)
		c.UID, c.Version, c.Created = fmt.Sprint(i), "1", time.Unix(int64(i), 0)
		if i%10 == 0 {
			c.SharingKey, c.Ports = fmt.Sprint("k", i/100), []Port{{uint16(1 + i%1000), "TCP"}}
		}
		out = append(out, c)
	}
	return out
}

func room(prefix string) []Pool {
	return []Pool{pool("a", prefix, "2001:db8::/64"), pool("b", "198.51.100.0/28")}
}

func BenchmarkAdopt(b *testing.B) {
	claims := many(10_000)
	for b.Loop() {
		New(room("10.0.0.0/16")).Adopt(claims, nil)
	}
}

// One Service comes and goes beside 10,000 others.
func BenchmarkUpdate(b *testing.B) {
	for name, prefix := range map[string]string{"room": "10.0.0.0/16", "full": "10.0.0.0/20"} {
		b.Run(name, func(b *testing.B) {
			a := New(room(prefix))
			for _, d := range a.Adopt(many(10_000), nil) {
				a.Landed(d.Service, d.Addresses)
			}
			c := ask("x/new")
			c.UID, c.Created = "new", time.Unix(1<<32, 0)
			for b.Loop() {
				a.Update(c)
				a.Delete(c.Service)
			}
		})
	}
}

// With half of them waiting, one goes after the other.
func BenchmarkDrain(b *testing.B) {
	for b.Loop() {
		a := New(room("10.0.0.0/19"))
		claims := many(10_000)
		for _, d := range a.Adopt(claims, nil) {
			a.Landed(d.Service, d.Addresses)
		}
		for _, c := range claims {
			for _, d := range a.Delete(c.Service) {
				a.Landed(d.Service, d.Addresses)
			}
		}
	}
}
