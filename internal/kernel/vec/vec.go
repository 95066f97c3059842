// Package vec holds the kernels over flat slices of float32: elementwise functions, reductions,
// rows of softmax and layer norm, conversions of storage types and changes of layout.
//
// Every kernel exists in plain Go, which is its specification, and for the hot ones in assembly.
// All obey the same rules.
//
//   - The number of elements is len(dst), or len(src) where nothing is written; other operands must
//     be at least as long. Any length is fine, also 0.
//   - dst may be the same slice as an operand. Any other overlap is not allowed.
//   - An element's result does not depend on its position, on its neighbours or on how a caller cuts
//     the work. Reductions add in an order given by the length alone.
//   - NaN in gives NaN out, also in max, min, relu and clip. Infinities and signed zeros follow IEEE 754
//     for the formula that the documentation of the kernel states.
//   - Levels agree within the error bound in the documentation; a bound of n ULP is against the
//     exact value and holds for results in the subnormal range too.
package vec

import "coreml/internal/kernel/cpu"

// The shapes of elementwise kernels.
type (
	Unary        = func(dst, src []float32)
	UnaryScalar  = func(dst, src []float32, a float32)
	UnaryScalar2 = func(dst, src []float32, a, b float32)
	Binary       = func(dst, a, b []float32)
	BinaryScalar = func(dst, a []float32, s float32)
	Ternary      = func(dst, a, b, c []float32)
	Reduction    = func(src []float32) float32
)

// Funcs are the kernels of one CPU level.
type Funcs struct {
	Level cpu.Level
	chunks

	// Exact functions. Round takes ties to even, Sign of a zero is +0, Relu(-0) is -0.
	Abs, Neg, Square, Sqrt, Ceil, Floor, Round, Sign, Relu Unary

	// Elementary functions: Exp, Exp2, Log, Erf, Sin, Cos within 2 ULP, Tanh within 4, the others within 1.
	Exp, Exp2, Log, Erf             Unary
	Sin, Cos, Tan, Asin, Acos, Atan Unary
	Sinh, Cosh, Tanh, Atanh         Unary
	Sigmoid                         Unary // 1/(1+exp(-x)), 4 ULP
	Silu                            Unary // x·sigmoid(x), 4 ULP; -Inf gives NaN, as the formula does
	Softplus                        Unary // log(1+exp(x)), 4 ULP
	Softsign                        Unary // x/(1+|x|)
	// GeluExact is x·Φ(x), error below 4e-7·|x| where x > -2, below 1e-7 beyond; GeluTanh and
	// GeluSigmoid are the approximations of MIL's modes, error below 1e-6·max(|result|, 0.1).
	GeluExact, GeluTanh, GeluSigmoid Unary

	Rsqrt           UnaryScalar  // 1/sqrt(x+a), two roundings after the sum
	Inverse         UnaryScalar  // 1/(x+a)
	Elu             UnaryScalar  // x > 0 ? x : a·(exp(x)-1), 4 ULP
	LeakyRelu       UnaryScalar  // x > 0 ? x : a·x
	ThresholdedRelu UnaryScalar  // x >= a ? x : 0
	Clip            UnaryScalar2 // min(max(x, a), b)
	ClampedRelu     UnaryScalar2 // min(x >= 0 ? x : a·x, b)
	SigmoidHard     UnaryScalar2 // clip(a·x+b, 0, 1)
	HardSwish       UnaryScalar2 // x·clip(a·x+b, 0, 1)
	ScaledTanh      UnaryScalar2 // a·tanh(b·x)
	ScaleShift      UnaryScalar2 // a·x + b

	// Binary operations. FloorDiv and Mod follow numpy's floor_divide and mod, Pow is within 1 ULP, PowS within 2.
	Add, Sub, Mul, Div, Max, Min, Pow, FloorDiv, Mod Binary
	// dst = a op s
	AddS, SubS, MulS, DivS, MaxS, MinS, PowS, FloorDivS, ModS BinaryScalar
	// dst = s op a
	SSub, SDiv, SPow, SFloorDiv, SMod BinaryScalar

	Axpy        BinaryScalar // dst += a·s
	MulAdd      Ternary      // a·b + c
	ScaleShiftV Ternary      // a·scale + shift per element: MulAdd by another name

	// The operand of a blocked layout: one value per lane, repeated over src. The length of the
	// channel vectors is the block; len(dst) is a multiple of it.
	AddChan, MulChan func(dst, src, channel []float32)
	ScaleShiftChan   func(dst, src, scale, shift []float32)

	// Reductions; of no elements: 0, and -Inf for ReduceMax, +Inf for ReduceMin, -1 for ArgMax and ArgMin.
	// ArgMax and ArgMin answer with the first of equals, and with the first NaN if there is one.
	Sum, SumSquare, SumAbs, ReduceMax, ReduceMin Reduction
	ArgMax, ArgMin                               func(src []float32) int
	Dot                                          func(a, b []float32) float32

	// ExpSum stores exp(src-shift) and returns the sum of what it stored.
	ExpSum func(dst, src []float32, shift float32) float32
	// Softmax is that of one row. Where every element is -Inf the row is NaN.
	Softmax Unary
	// MeanVar is the mean and the mean squared deviation from it, in two passes.
	MeanVar func(src []float32) (mean, variance float32)
	// LayerNorm is (src-mean)/sqrt(variance+eps)·gamma + beta of one row; RMSNorm is
	// src/sqrt(mean of squares+eps)·gamma. gamma and beta may be nil.
	LayerNorm func(dst, src, gamma, beta []float32, eps float32)
	RMSNorm   func(dst, src, gamma []float32, eps float32)

	// LayerNormRows and SoftmaxRows treat every row of n elements; len(dst) is a multiple of n. The result
	// of a row does not depend on the others. Long rows, and rows without gamma or beta, are as above.
	LayerNormRows func(dst, src, gamma, beta []float32, n int, eps float32)
	SoftmaxRows   func(dst, src []float32, n int)

	// Conversions of storage types; float16 and bfloat16 are their bits, rounded to nearest even.
	FromF16, FromBF16 func(dst []float32, src []uint16)
	ToF16, ToBF16     func(dst []uint16, src []float32)
	RoundF16          Unary // rounded to the nearest float16
	// (src-zero)·scale, and the inverse: clip(round(src/scale)+zero), with zero integral; NaN becomes zero's value.
	FromInt8  func(dst []float32, src []int8, scale, zero float32)
	FromUint8 func(dst []float32, src []uint8, scale, zero float32)
	ToInt8    func(dst []int8, src []float32, scale, zero float32)
	ToUint8   func(dst []uint8, src []float32, scale, zero float32)

	// Transpose stores dst[c·dstStride+r] = src[r·srcStride+c] for rows × cols of src.
	Transpose func(dst []float32, dstStride int, src []float32, srcStride, rows, cols int)
	// ToBlocked turns [channels][pixels] into [blocks][pixels][lanes], pad lanes zero; FromBlocked is its inverse.
	ToBlocked, FromBlocked func(dst, src []float32, channels, pixels, lanes int)
}

// For returns the kernels of a level, the generic ones where this build has none. The result
// is shared: it must not be modified.
func For(l cpu.Level) *Funcs {
	for _, f := range levels {
		if f.Level == l {
			return f
		}
	}
	return levels[0]
}

// levels are the kernels that this build has, generic first.
var levels = append([]*Funcs{newGeneric()}, assembly()...)

// chunk is the number of elements that one call of an assembly kernel handles at most, and
// the number after which a reduction starts a new partial sum, at every level.
const chunk = 16 << 10
