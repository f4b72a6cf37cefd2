package rendezvous

import (
	"math"
	"math/big"
	"math/bits"
	"testing"

	"pgregory.net/rapid"
)

// The points are defined exactly, and computed by a method that rounds.
func TestLogarithmsAreExact(t *testing.T) {
	points := logarithms()
	for i, got := range points {
		// 2^(got/2^40) <= 1 + i/4096 < 2^((got+1)/2^40), by 40 squarings.
		if lower, upper := pow2(got), pow2(got+1); lower.Cmp(point(i)) > 0 || upper.Cmp(point(i)) <= 0 {
			t.Errorf("point %d: %d is not floor(log2(1 + %d/4096) * 2^40)", i, got, i)
		}
	}
}

func point(i int) *big.Float {
	return new(big.Float).SetPrec(200).SetRat(big.NewRat(4096+int64(i), 4096))
}

// roots are 2^(1/2^k).
var roots = func() (roots [pointBits + 1]*big.Float) {
	x := new(big.Float).SetPrec(200).SetInt64(2)
	for k := range roots {
		roots[k] = new(big.Float).Copy(x)
		x.Sqrt(x)
	}
	return roots
}()

// pow2 is 2^(log/2^40).
func pow2(log uint64) *big.Float {
	x := new(big.Float).SetPrec(200).SetInt64(1)
	for ; log > 0; log &= log - 1 {
		x.Mul(x, roots[pointBits-bits.TrailingZeros64(log)])
	}
	return x
}

func TestCostError(t *testing.T) {
	check := func(u uint64) {
		got := float64(cost(u)) / (1 << costBits)
		// Near 1, log1p of the distance keeps what u/2^64 would lose.
		want := -math.Log1p(-float64(-u)/(1<<64)) / math.Ln2
		if u < 1<<63 {
			want = 64 - math.Log2(float64(u))
		}
		// Below 2^-44 what counts is the resolution, 2^-57.
		if e := math.Abs(got - want); e > want*0x1p-13 && e > 0x1p-56 {
			t.Errorf("cost(%#x) = %g, want %g: relative error 2^%.1f", u, got, want, math.Log2(e/want))
		}
	}
	for shift := range 64 {
		check(1 << shift)
		check(math.MaxUint64 >> shift)
		check(math.MaxUint64 - 1<<shift)
	}
	for i := range uint64(1 << 20) {
		check(mix(i))
		check(-(i + 1) << 40)
	}
}

func TestCostIsMonotone(t *testing.T) {
	check := func(u uint64) {
		if c, next := cost(u), cost(u+1); next > c {
			t.Errorf("cost(%#x) = %d, and cost(%#x) = %d is more", u, c, u+1, next)
		}
		if cost(u) == 0 || cost(u) > 64<<costBits {
			t.Errorf("cost(%#x) = %d is outside 1 to %d", u, cost(u), uint64(64<<costBits))
		}
	}
	for e := range 64 {
		for i := range uint64(1 << octaveBits) {
			edge := 1<<e + i<<e>>octaveBits // where a new piece begins
			check(edge - 1)
			check(edge)
		}
	}
	for i := range uint64(1 << 20) {
		check(mix(i) &^ (1 << 63))
	}
	if cost(math.MaxUint64) == 0 {
		t.Error("the highest u costs nothing, so its weight would not count")
	}
}

// Among equal weights comparing u gives the order of the general formula. Neither
// compare nor first uses the formula there.
func TestEqualWeightsCompareByU(t *testing.T) {
	near := func(t *rapid.T, label string) uint64 {
		u := rapid.Uint64().Draw(t, label)
		if rapid.Bool().Draw(t, label+" at the top") {
			u |= math.MaxUint64 << rapid.IntRange(0, 63).Draw(t, label+" bits")
		}
		return u
	}
	rapid.Check(t, func(t *rapid.T) {
		weight := rapid.Uint32Min(1).Draw(t, "weight")
		a := contender{u: near(t, "a"), weight: weight}
		b := contender{u: near(t, "b"), weight: weight}
		if rapid.Bool().Draw(t, "neighbours") {
			b.u = a.u + uint64(rapid.IntRange(0, 300).Draw(t, "distance"))
		}
		if c := compareCosts(a, b); a.u > b.u && c > 0 || a.u < b.u && c < 0 {
			t.Fatalf("u %#x and %#x with weight %d: costs compare to %d", a.u, b.u, weight, c)
		}
	})
}
