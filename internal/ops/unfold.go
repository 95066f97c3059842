package ops

// unfolder writes, for some outputs of a convolution, the inputs that each of
// them multiplies with the weights, in the panel form of package gemm: the
// image is the right side of a product whose left side is the weight as the file has it.
type unfolder struct {
	lanes   int
	in, out [3]int   // sizes of the input, and of the grid of outputs that are computed
	step    [3]int   // input positions from one output to the next
	taps    [][3]int // for each tap of the window, the input position of output (0, 0, 0)
}

// newUnfolder is that of a convolution; taps are in the order of the weight.
func newUnfolder(s *spatial, lanes int) *unfolder {
	u := &unfolder{lanes: lanes}
	for d, x := range s.axis {
		u.in[d], u.out[d], u.step[d] = x.In, x.Out, x.Stride
	}
	z, y, x := s.axis[0], s.axis[1], s.axis[2]
	for i := range z.Kernel {
		for j := range y.Kernel {
			for k := range x.Kernel {
				u.taps = append(u.taps, [3]int{i*z.Dilation - z.Before, j*y.Dilation - y.Before, k*x.Dilation - x.Before})
			}
		}
	}
	return u
}

// inputs and outputs are the elements of a channel.
func (u *unfolder) inputs() int  { return u.in[0] * u.in[1] * u.in[2] }
func (u *unfolder) outputs() int { return u.out[0] * u.out[1] * u.out[2] }

// panels fills the panels of n outputs from number p on, with k = (channel, tap) for the channels of x.
func (u *unfolder) panels(dst, x []float32, channels, p, n int) {
	k := channels * len(u.taps) * u.lanes
	for at := 0; at < n; at += u.lanes {
		u.panel(dst[:k], x, channels, p+at, min(u.lanes, n-at))
		dst = dst[k:]
	}
}

// maxUnfold is the largest number of lanes of any level.
const maxUnfold = 16

func (u *unfolder) panel(dst, x []float32, channels, p, n int) {
	var base [maxUnfold][3]int
	for l := range n {
		o := p + l
		base[l][2] = o % u.out[2] * u.step[2]
		o /= u.out[2]
		base[l][1] = o % u.out[1] * u.step[1]
		base[l][0] = o / u.out[1] * u.step[0]
	}
	plane, pitch := u.inputs(), len(u.taps)*u.lanes
	var from [maxUnfold]int
	for t, tap := range u.taps {
		run := true
		for l := range from[:u.lanes] {
			from[l] = -1
			if l < n {
				from[l] = u.position(base[l], tap)
			}
			run = run && from[l] >= 0 && from[l] == from[0]+l
		}
		for c := range channels {
			d, s := dst[c*pitch+t*u.lanes:][:u.lanes], x[c*plane:]
			if run {
				copy(d, s[from[0]:])
				continue
			}
			for l, f := range from[:u.lanes] {
				d[l] = 0
				if f >= 0 {
					d[l] = s[f]
				}
			}
		}
	}
}

// position is the element of a channel at base + tap; -1 outside.
func (u *unfolder) position(base, tap [3]int) int {
	at := 0
	for d := range base {
		i := base[d] + tap[d]
		if i < 0 || i >= u.in[d] {
			return -1
		}
		at = at*u.in[d] + i
	}
	return at
}
