package ops

import (
	"encoding/binary"
	"math"
	"math/bits"
	"unsafe"

	"coreml/internal/graph"
	"coreml/tensor"
)

// sumEvery is the number of bits between two entries of bitmask.sums.
const sumEvery = 2048

// bitmask is a bit vector, least significant bit first, that counts and finds its set bits quickly.
type bitmask struct {
	bits []byte
	n    int
	sums []int // set bits before each multiple of sumEvery, and in all
}

func newBitmask(b []byte, n int) *bitmask {
	m := &bitmask{bits: b, n: n}
	total := 0
	for at := 0; at < n; at += sumEvery {
		m.sums = append(m.sums, total)
		total += m.count(at, min(at+sumEvery, n))
	}
	m.sums = append(m.sums, total)
	return m
}

// word is the 64 bits from bit i on, i a multiple of 64; bits from n on are zero.
func (m *bitmask) word(i int) uint64 {
	var w uint64
	if i/8+8 <= len(m.bits) {
		w = binary.LittleEndian.Uint64(m.bits[i/8:])
	} else {
		for j, b := range m.bits[min(i/8, len(m.bits)):] {
			w |= uint64(b) << (8 * j)
		}
	}
	if m.n-i < 64 {
		w &= 1<<(m.n-i) - 1
	}
	return w
}

// window is the 64 bits from bit i on; bits from n on are zero.
func (m *bitmask) window(i int) uint64 {
	shift := i % 64
	w := m.word(i-shift) >> shift
	if next := i - shift + 64; shift > 0 && next < m.n {
		w |= m.word(next) << (64 - shift)
	}
	return w
}

// count is the number of set bits in lo … hi; lo is a multiple of 64.
func (m *bitmask) count(lo, hi int) int {
	c := 0
	for ; lo+64 <= hi; lo += 64 {
		c += bits.OnesCount64(m.word(lo))
	}
	if lo < hi {
		c += bits.OnesCount64(m.word(lo) & (1<<(hi-lo) - 1))
	}
	return c
}

func (m *bitmask) total() int { return m.sums[len(m.sums)-1] }

// rank is the number of set bits before bit i.
func (m *bitmask) rank(i int) int {
	s := i / sumEvery
	return m.sums[s] + m.count(s*sumEvery, i)
}

// find is the position of set bit number k, counted from 0.
func (m *bitmask) find(k int) int {
	lo, hi := 0, len(m.sums)-1
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; m.sums[mid] <= k {
			lo = mid
		} else {
			hi = mid
		}
	}
	k -= m.sums[lo]
	for at := lo * sumEvery; ; at += 64 {
		w := m.word(at)
		if c := bits.OnesCount64(w); k >= c {
			k -= c
			continue
		}
		for ; k > 0; k-- {
			w &= w - 1
		}
		return at + bits.TrailingZeros64(w)
	}
}

// maskCode is the mask of a sparse weight. Each row of inner bits of base is
// repeated times times, as vectors in palettes ask for.
type maskCode struct {
	base         *bitmask
	times, inner int
	src          *graph.Const
}

func (m *maskCode) Form() string          { return "mask" }
func (m *maskCode) Size() int64           { return codedSize(m.src) }
func (m *maskCode) Parts() []*graph.Const { return []*graph.Const{m.src} }
func (m *maskCode) total() int            { return m.base.total() * m.times }

// equal reports that two masks are views of the same memory.
func (m *maskCode) equal(o *maskCode) bool {
	return m.base.n == o.base.n && m.times == o.times && (m.inner == o.inner || m.times == 1) &&
		unsafe.SliceData(m.base.bits) == unsafe.SliceData(o.base.bits)
}

// window is the marks of the elements lo … lo+n, least significant bit first; n is at most 64.
func (m *maskCode) window(lo, n int) uint64 {
	if m.times == 1 {
		return m.base.window(lo)
	}
	var w uint64
	for at := 0; at < n; {
		row, col := (lo+at)/m.inner, (lo+at)%m.inner
		run := min(n-at, m.inner-col)
		w |= m.base.window(row/m.times*m.inner+col) & (1<<run - 1) << at
		at += run
	}
	return w
}

// Decode writes 0 and 1.
func (m *maskCode) Decode(dst []float32, lo int) {
	fill(dst, 1)
	m.clear(dst, lo)
}

// clear makes the elements of dst that are not marked zero; dst begins at element lo.
func (m *maskCode) clear(dst []float32, lo int) {
	for at := 0; at < len(dst); at += 64 {
		d := dst[at:min(at+64, len(dst))]
		w := m.window(lo+at, len(d))
		for i, x := range d {
			d[i] = math.Float32frombits(math.Float32bits(x) & -uint32(w&1))
			w >>= 1
		}
	}
}

// rank is the number of marked elements before element i.
func (m *maskCode) rank(i int) int {
	if m.times == 1 {
		return m.base.rank(i)
	}
	row, col := i/m.inner, i%m.inner
	start := row / m.times * m.inner
	if start >= m.base.n {
		return m.total()
	}
	before := m.base.rank(start)
	in := m.base.rank(start+m.inner) - before
	return before*m.times + in*(row%m.times) + m.base.rank(start+col) - before
}

// find is the position of marked element number k.
func (m *maskCode) find(k int) int {
	if m.times == 1 {
		return m.base.find(k)
	}
	row := m.base.find(k/m.times) / m.inner
	before := m.base.rank(row * m.inner)
	in := m.base.rank((row+1)*m.inner) - before
	k -= before * m.times
	col := m.base.find(before+k%in) - row*m.inner
	return (row*m.times+k/in)*m.inner + col
}

// maskOf reads the mask given as argument arg.
func maskOf(c *graph.Call, arg int) (*graph.Const, *maskCode, error) {
	k, err := weightConst(c, arg)
	if err != nil {
		return nil, nil, err
	}
	if m, ok := k.Code.(*maskCode); ok {
		return k, m, nil
	}
	n := k.Type.Elements()
	if want, ok := tensor.ByteSize(tensor.UInt1, n); k.Type.DType != tensor.UInt1 || k.Code != nil || k.Held || !ok || len(k.Data) < want {
		return nil, nil, c.Errorf(arg, "%v, want a stored mask of uint1", k.Type)
	}
	return k, &maskCode{newBitmask(k.Data, n), 1, 1, k}, nil
}

// sparseCode is a weight of which only the marked elements are stored, in order.
type sparseCode struct {
	Data *graph.Const
	Mask *maskCode
}

func (k *sparseCode) Form() string          { return "sparse " + k.Data.Type.DType.String() }
func (k *sparseCode) Size() int64           { return codedSize(k.Data) + k.Mask.Size() }
func (k *sparseCode) Parts() []*graph.Const { return []*graph.Const{k.Data, k.Mask.src} }

func (k *sparseCode) Decode(dst []float32, lo int) {
	if len(dst) == 0 {
		return
	}
	first, end := k.Mask.rank(lo), k.Mask.rank(lo+len(dst))
	// The stored elements go to the end of dst and are moved to the left: none passes its place.
	next := len(dst) - (end - first)
	k.Data.Decode(dst[next:], first)
	for at := 0; at < len(dst); at += 64 {
		if next == len(dst) {
			clear(dst[at:])
			break
		}
		n := min(64, len(dst)-at)
		w := k.Mask.window(lo+at, n)
		for i := at; i < at+n; i++ {
			v := math.Float32bits(dst[min(next, len(dst)-1)])
			dst[i] = math.Float32frombits(v & -uint32(w&1))
			next += int(w & 1)
			w >>= 1
		}
	}
}

// maskedCode is a weight with zeros where the mask says so.
type maskedCode struct {
	Dense *graph.Const
	Mask  *maskCode
}

func (k *maskedCode) Form() string          { return "sparse " + k.Dense.Code.Form() }
func (k *maskedCode) Size() int64           { return k.Dense.Code.Size() }
func (k *maskedCode) Parts() []*graph.Const { return []*graph.Const{k.Dense, k.Mask.src} }

func (k *maskedCode) Decode(dst []float32, lo int) {
	k.Dense.Decode(dst, lo)
	k.Mask.clear(dst, lo)
}

// pickedCode is the vector of the marked elements of a weight.
type pickedCode struct {
	Dense *graph.Const
	Mask  *maskCode
}

func (k *pickedCode) Form() string          { return "nonzero " + k.Dense.Code.Form() }
func (k *pickedCode) Size() int64           { return k.Dense.Code.Size() }
func (k *pickedCode) Parts() []*graph.Const { return []*graph.Const{k.Dense, k.Mask.src} }

func (k *pickedCode) Decode(dst []float32, lo int) {
	v := make([]float32, 64)
	end := k.Dense.Type.Elements()
	for at := 0; at < len(dst); {
		from := k.Mask.find(lo + at)
		n := min(len(v), end-from)
		k.Dense.Decode(v[:n], from)
		for w := k.Mask.window(from, n); w != 0 && at < len(dst); w &= w - 1 {
			dst[at] = v[bits.TrailingZeros64(w)]
			at++
		}
	}
}

// densify makes the weight of shape whose marked elements are nonzero, which is argument arg.
func densify(c *graph.Call, arg int, nonzero *graph.Const, m *maskCode, shape []int) (*graph.Const, error) {
	if nonzero.Type.Rank() != 1 || nonzero.Type.Shape[0] != m.total() {
		return nil, c.Errorf(arg, "shape %v, want [%d], the number of marked elements", nonzero.Type.Shape, m.total())
	}
	t := graph.TensorOf(nonzero.Type.DType, shape...)
	if p, ok := nonzero.Code.(*pickedCode); ok && p.Mask.equal(m) {
		return coded(c, t, &maskedCode{p.Dense, m})
	}
	return coded(c, t, &sparseCode{nonzero, m})
}

func expandSparse(c *graph.Call) ([]*graph.Const, error) {
	nonzero, err := weightConst(c, 0)
	if err != nil {
		return nil, err
	}
	mask, m, err := maskOf(c, 1)
	if err != nil {
		return nil, err
	}
	out, err := densify(c, 0, nonzero, m, mask.Type.Shape)
	if err != nil {
		return nil, err
	}
	return results(c, out)
}

// expandFlatSparse reads the form of iOS 16: the mask is a vector of bytes.
func expandFlatSparse(c *graph.Call) ([]*graph.Const, error) {
	ks, err := weightConsts(c, 0, 1)
	if err != nil {
		return nil, err
	}
	shape, n, err := weightShape(c, 2)
	if err != nil {
		return nil, err
	}
	packed, err := packedBytes(c, 1, ks[1], tensor.UInt1, n)
	if err != nil {
		return nil, err
	}
	out, err := densify(c, 0, ks[0], &maskCode{newBitmask(packed, n), 1, 1, ks[1]}, shape)
	if err != nil {
		return nil, err
	}
	return results(c, out)
}

// pick makes the two results of the operators that go from sparse to sparse:
// the mask, and the marked elements of dense.
func pick(c *graph.Call, dense *graph.Const, mask *graph.Const, m *maskCode) ([]*graph.Const, error) {
	nonzero, err := coded(c, graph.TensorOf(dense.Type.DType, m.total()), &pickedCode{dense, m})
	if err != nil {
		return nil, err
	}
	return results(c, mask, nonzero)
}

func expandBlockwiseSparse(c *graph.Call) ([]*graph.Const, error) {
	mask, m, err := maskOf(c, 0)
	if err != nil {
		return nil, err
	}
	ks, err := weightConsts(c, 1, 2, 3)
	if err != nil {
		return nil, err
	}
	data, err := densify(c, 1, ks[0], m, mask.Type.Shape)
	if err != nil {
		return nil, err
	}
	dense, err := newBlockCode(c, 2, data, ks[1], ks[2])
	if err != nil {
		return nil, err
	}
	return pick(c, dense, mask, m)
}

func expandLutSparse(c *graph.Call) ([]*graph.Const, error) {
	mask, m, err := maskOf(c, 0)
	if err != nil {
		return nil, err
	}
	ks, err := weightConsts(c, 1, 2)
	if err != nil {
		return nil, err
	}
	indices, err := densify(c, 1, ks[0], m, mask.Type.Shape)
	if err != nil {
		return nil, err
	}
	k, err := newLut(c, 1, indices, ks[1])
	if err != nil {
		return nil, err
	}
	dense, err := coded(c, graph.TensorOf(ks[1].Type.DType, k.Shape...), k)
	if err != nil {
		return nil, err
	}
	if k.Vector == 1 {
		return pick(c, dense, mask, m)
	}
	if m.times > 1 {
		return nil, c.Errorf(0, "a mask of vectors, want a stored mask of uint1")
	}
	wide := &maskCode{m.base, k.Vector, k.inner, mask}
	wideMask, err := coded(c, graph.TensorOf(tensor.UInt1, k.Shape...), wide)
	if err != nil {
		return nil, err
	}
	return pick(c, dense, wideMask, wide)
}
