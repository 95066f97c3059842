package graph

import (
	"math/rand/v2"
	"testing"

	"coreml/tensor"
)

// TestDecodeBits reads every range of every packed dtype bit by bit.
func TestDecodeBits(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, dt := range []tensor.DType{tensor.UInt1, tensor.UInt2, tensor.UInt3, tensor.UInt4, tensor.Int4, tensor.UInt6} {
		const n = 75
		size, _ := tensor.ByteSize(dt, n)
		d := make([]byte, size)
		for i := range d {
			d[i] = byte(r.Uint32())
		}
		want := make([]float32, n)
		for i := range want {
			v := 0
			for b := range dt.Bits() {
				at := i*dt.Bits() + b
				v |= int(d[at/8]>>(at%8)&1) << b
			}
			if dt == tensor.Int4 && v > 7 {
				v -= 16
			}
			want[i] = float32(v)
		}
		k := &Const{Type: TensorOf(dt, n), Data: d}
		for lo := range n {
			for hi := lo; hi <= n; hi++ {
				got := make([]float32, hi-lo)
				k.Decode(got, lo)
				for i := range got {
					if got[i] != want[lo+i] {
						t.Fatalf("%v: element %d of %d … %d is %v, want %v", dt, i, lo, hi, got[i], want[lo+i])
					}
				}
			}
		}
	}
}
