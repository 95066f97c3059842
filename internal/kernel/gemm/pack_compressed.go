package gemm

import "encoding/binary"

// PackHalf writes panels lo … hi of Form Half. row(i) holds the k float16 of column i, and is used
// only until the next one is asked for; so it is with the functions below.
func PackHalf(dst []byte, n, k, lanes int, row func(i int) []uint16, lo, hi int) {
	eachColumn(lo, hi, lanes, func(p, l, i int) {
		panel := dst[p*2*k*lanes : (p+1)*2*k*lanes]
		var x []uint16
		if i < n {
			x = row(i)
		}
		for s := range k {
			var v uint16
			if x != nil {
				v = x[s]
			}
			binary.LittleEndian.PutUint16(panel[2*(s*lanes+l):], v)
		}
	})
}

// PackInt8 writes panels lo … hi of Form Int8.
func PackInt8(dst []byte, n, k, lanes int, row func(i int) []int8, lo, hi int) {
	eachColumn(lo, hi, lanes, func(p, l, i int) {
		panel := dst[p*k*lanes : (p+1)*k*lanes]
		var x []int8
		if i < n {
			x = row(i)
		}
		for s := range k {
			panel[s*lanes+l] = 0
			if x != nil {
				panel[s*lanes+l] = byte(x[s])
			}
		}
	})
}

// PackLut4 writes panels lo … hi of Form Lut4: row(i) holds two indices in each of k/2 bytes, the
// first in the lower half. k is a multiple of 8.
func PackLut4(dst []byte, n, k, lanes int, row func(i int) []byte, lo, hi int) {
	eachColumn(lo, hi, lanes, func(p, l, i int) {
		panel := dst[p*k/2*lanes : (p+1)*k/2*lanes]
		if i >= n {
			for g := range k / 8 {
				binary.LittleEndian.PutUint32(panel[4*(g*lanes+l):], 0)
			}
			return
		}
		x := row(i)[:k/2]
		for at := 4 * l; len(x) >= 4; at += 4 * lanes {
			binary.LittleEndian.PutUint32(panel[at:], binary.LittleEndian.Uint32(x))
			x = x[4:]
		}
	})
}

// PackScales writes panels lo … hi of the scales or shifts of a compressed weight: row(i) holds
// those of column i, one for each block, as float16 or as the bits of float32.
func PackScales[T uint16 | uint32](dst []byte, n, blocks, lanes int, row func(i int) []T, lo, hi int) {
	eachColumn(lo, hi, lanes, func(p, l, i int) {
		var x []T
		if i < n {
			x = row(i)
		}
		for b := range blocks {
			var v T
			if x != nil {
				v = x[b]
			}
			at := (p*blocks+b)*lanes + l
			switch v := any(v).(type) {
			case uint16:
				binary.LittleEndian.PutUint16(dst[2*at:], v)
			case uint32:
				binary.LittleEndian.PutUint32(dst[4*at:], v)
			}
		}
	})
}

// eachColumn calls f for lane l of every panel; column i may be n or more.
func eachColumn(lo, hi, lanes int, f func(p, l, i int)) {
	for p := lo; p < hi; p++ {
		for l := range lanes {
			f(p, l, p*lanes+l)
		}
	}
}
