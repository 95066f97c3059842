package vec

// The generic kernels apply the scalar functions one by one.

func mapped(f func(float32) float32) Unary {
	return func(dst, src []float32) {
		for i, x := range src[:len(dst)] {
			dst[i] = f(x)
		}
	}
}

func mapped1(f func(x, a float32) float32) UnaryScalar {
	return func(dst, src []float32, a float32) {
		for i, x := range src[:len(dst)] {
			dst[i] = f(x, a)
		}
	}
}

func mapped2(f func(x, a, b float32) float32) UnaryScalar2 {
	return func(dst, src []float32, a, b float32) {
		for i, x := range src[:len(dst)] {
			dst[i] = f(x, a, b)
		}
	}
}

func zipped(f func(a, b float32) float32) Binary {
	return func(dst, a, b []float32) {
		b = b[:len(dst)]
		for i, x := range a[:len(dst)] {
			dst[i] = f(x, b[i])
		}
	}
}

// The commonest operations have loops of their own, several times as fast as calls.

func addLoop(dst, a, b []float32) {
	b = b[:len(dst)]
	for i, x := range a[:len(dst)] {
		dst[i] = x + b[i]
	}
}

func mulLoop(dst, a, b []float32) {
	b = b[:len(dst)]
	for i, x := range a[:len(dst)] {
		dst[i] = x * b[i]
	}
}

func mulSLoop(dst, a []float32, s float32) {
	for i, x := range a[:len(dst)] {
		dst[i] = x * s
	}
}

func reluLoop(dst, src []float32) {
	for i, x := range src[:len(dst)] {
		dst[i] = relu(x)
	}
}

// swapped is the operation with the scalar on the left.
func swapped(f func(a, b float32) float32) BinaryScalar {
	return func(dst, a []float32, s float32) {
		for i, x := range a[:len(dst)] {
			dst[i] = f(s, x)
		}
	}
}

func mulAddChunk(dst, a, b, c []float32) {
	b, c = b[:len(dst)], c[:len(dst)]
	for i, x := range a[:len(dst)] {
		dst[i] = mulAdd(x, b[i], c[i])
	}
}

func axpy(dst, a, b []float32, s float32) {
	b = b[:len(dst)]
	for i, x := range a[:len(dst)] {
		dst[i] = x + float32(b[i]*s)
	}
}

// perLane applies f with a channel vector that repeats.
func perLane(f func(x, c float32) float32) func(dst, src, channel []float32) {
	return func(dst, src, channel []float32) {
		scaleShiftLanes(dst, src, channel, channel, func(x, c, _ float32) float32 { return f(x, c) })
	}
}

func scaleShiftLanes(dst, src, scale, shift []float32, f func(x, scale, shift float32) float32) {
	n := len(scale)
	shift = shift[:n]
	for lo := 0; lo < len(dst); lo += n {
		s := src[lo:][:n]
		d := dst[lo:][:n]
		for i := range d {
			d[i] = f(s[i], scale[i], shift[i])
		}
	}
}

// powS takes the exponents that networks use without logarithms.
func (f *Funcs) powS(dst, a []float32, s float32) {
	switch s {
	case 1:
		copy(dst, a[:len(dst)])
	case 2:
		f.Square(dst, a)
	case 3:
		f.cube(dst, a)
	case 0.5:
		f.root(dst, a)
	case -0.5:
		f.root(dst, a)
		f.SDiv(dst, dst, 1)
	case -1:
		f.SDiv(dst, a, 1)
	default:
		for i, x := range a[:len(dst)] {
			dst[i] = pow(x, s)
		}
	}
}

func newGeneric() *Funcs {
	f := &Funcs{
		Abs: mapped(abs), Neg: mapped(neg), Square: mapped(square), Sqrt: mapped(sqrt),
		Ceil: mapped(ceil), Floor: mapped(floor), Round: mapped(round), Sign: mapped(sign), Relu: reluLoop,

		Exp: mapped(exp), Exp2: mapped(exp2), Log: mapped(log), Erf: mapped(erf),
		Sin: mapped(sin), Cos: mapped(cos), Tan: mapped(tan), Asin: mapped(asin), Acos: mapped(acos), Atan: mapped(atan),
		Sinh: mapped(sinh), Cosh: mapped(cosh), Tanh: mapped(tanh), Atanh: mapped(atanh),
		Sigmoid: mapped(sigmoid), Silu: mapped(silu), Softplus: mapped(softplus), Softsign: mapped(softsign),
		GeluExact: mapped(geluExact), GeluTanh: mapped(geluTanh), GeluSigmoid: mapped(geluSigmoid),

		Rsqrt: mapped1(rsqrt), Inverse: mapped1(inverse), Elu: mapped1(elu), LeakyRelu: mapped1(leakyRelu),
		ThresholdedRelu: mapped1(thresholdedRelu),
		Clip:            mapped2(clip), ClampedRelu: mapped2(clampedRelu), SigmoidHard: mapped2(sigmoidHard), HardSwish: mapped2(hardSwish),
		ScaledTanh: mapped2(scaledTanh), ScaleShift: mapped2(scaleShift),

		Add: addLoop, Sub: zipped(sub), Mul: mulLoop, Div: zipped(div), Max: zipped(maximum), Min: zipped(minimum),
		Pow: zipped(pow), FloorDiv: zipped(floorDiv), Mod: zipped(mod),
		AddS: mapped1(add), SubS: mapped1(sub), MulS: mulSLoop, DivS: mapped1(div), MaxS: mapped1(atLeast), MinS: mapped1(atMost),
		FloorDivS: mapped1(floorDiv), ModS: mapped1(mod),
		SSub: swapped(sub), SDiv: swapped(div), SPow: swapped(pow), SFloorDiv: swapped(floorDiv), SMod: swapped(mod),

		MulAdd:  mulAddChunk,
		AddChan: perLane(add), MulChan: perLane(mul),
		ScaleShiftChan: func(dst, src, scale, shift []float32) { scaleShiftLanes(dst, src, scale, shift, scaleShift) },

		FromF16: fromF16, FromBF16: fromBF16, ToF16: toF16, ToBF16: toBF16, RoundF16: mapped(roundF16),
		FromInt8: dequantize[int8], FromUint8: dequantize[uint8], ToInt8: toInt8, ToUint8: toUint8,
		Transpose: transpose,
	}
	f.chunks = genericChunks
	f.derive()
	return f
}

// keepNaN is a kernel that answers NaN for a scalar that is.
func keepNaN(k BinaryScalar) BinaryScalar {
	return func(dst, a []float32, s float32) {
		if isNaN(s) {
			for i := range dst {
				dst[i] = s
			}
			return
		}
		k(dst, a, s)
	}
}

// derive fills in the kernels that are made of others.
func (f *Funcs) derive() {
	f.PowS = f.powS
	f.MaxS, f.MinS = keepNaN(f.MaxS), keepNaN(f.MinS)
	f.Axpy = func(dst, a []float32, s float32) { f.axpy(dst, dst, a, s) }
	f.ScaleShiftV = f.MulAdd
	f.reductions()
	f.blocked()
	f.rows()
}
