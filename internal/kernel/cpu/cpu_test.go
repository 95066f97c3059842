package cpu

import (
	"runtime"
	"testing"
)

func TestChoose(t *testing.T) {
	for _, c := range []struct {
		forced string
		want   Level
		bad    bool
	}{
		{"", AVX2, false},
		{"generic", Generic, false},
		{"AVX2", AVX2, false},
		{"avx512", AVX2, true},
		{"mmx", AVX2, true},
	} {
		got, err := choose(c.forced, []Level{Generic, AVX2})
		if got != c.want || (err != nil) != c.bad {
			t.Errorf("choose(%q) = %v, %v; want %v, error %v", c.forced, got, err, c.want, c.bad)
		}
	}
}

func TestLevelsAscend(t *testing.T) {
	ls := Levels()
	if ls[0] != Generic {
		t.Fatalf("Levels() = %v: want Generic first", ls)
	}
	for i := 1; i < len(ls); i++ {
		if ls[i] <= ls[i-1] {
			t.Errorf("Levels() = %v: want ascending order", ls)
		}
	}
	for _, l := range ls {
		if got, err := ByName(l.String()); err != nil || got != l {
			t.Errorf("ByName(%q) = %v, %v", l, got, err)
		}
	}
}

func TestPeakAndBandwidth(t *testing.T) {
	buf := make([]byte, 32<<10)
	for _, l := range Levels() {
		p, b := Peak(l), ReadBandwidth(l, buf)
		if (p > 0) != (l != Generic) || (b > 0) != (l != Generic) {
			t.Errorf("%v: peak %.1f GFLOP/s, read %.1f GB/s: want both positive where there is assembly", l, p, b)
		}
		t.Logf("%v: peak %.1f GFLOP/s, read L1 %.1f GB/s", l, p, b)
	}
}

func TestCores(t *testing.T) {
	if n := Cores(); n < 1 || n > runtime.NumCPU() {
		t.Errorf("Cores() = %d, want 1 … %d", n, runtime.NumCPU())
	}
	if runtime.GOOS == "linux" && cores() > runtime.NumCPU() {
		t.Errorf("cores() = %d of %d logical processors", cores(), runtime.NumCPU())
	}
}

func TestThreads(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	for n, want := range map[int]int{-1: min(Cores(), 2), 0: min(Cores(), 2), 1: 1, 2: 2, 100: 2} {
		if got := Threads(n); got != want {
			t.Errorf("Threads(%d) = %d with GOMAXPROCS 2, want %d", n, got, want)
		}
	}
}
