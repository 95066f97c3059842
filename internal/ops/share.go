package ops

// taskShare divides the work of a blocked convolution or pool into tasks: outer
// (image, group) by bands of lines by ranges of columns.
type taskShare struct {
	outer, lines, cols   int // lines and columns of a task
	bands, ranges        int // their numbers
	allLines, allColumns int
}

// taskPart is one task.
type taskPart struct{ outer, line, lines, col, cols int }

func newShare(outer, allLines, allColumns, bands, ranges int) taskShare {
	s := taskShare{outer: outer, allLines: allLines, allColumns: allColumns}
	s.lines = (allLines + bands - 1) / bands
	s.cols = (allColumns + ranges - 1) / ranges
	s.bands = (allLines + s.lines - 1) / s.lines
	s.ranges = (allColumns + s.cols - 1) / s.cols
	return s
}

// band is the range of lines of band i.
func (s taskShare) band(i int) (lo, hi int) { return i * s.lines, min((i+1)*s.lines, s.allLines) }

func (s taskShare) tasks() int { return s.outer * s.bands * s.ranges }

// evenTasks is how many tasks an amount of work, in tasks, is best divided into, at
// most so many: two or a multiple of four, so that two and four threads end together.
func evenTasks(work float64, most int) int {
	switch n := int(min(work, float64(most))); {
	case n < 2:
		return 1
	case n == 2:
		return 2
	default:
		return (n + 3) &^ 3
	}
}

// task is number i: ranges of columns of one band follow one another.
func (s taskShare) task(i int) taskPart {
	t := taskPart{col: i % s.ranges * s.cols}
	i /= s.ranges
	t.line, t.outer = i%s.bands*s.lines, i/s.bands
	t.lines = min(s.lines, s.allLines-t.line)
	t.cols = min(s.cols, s.allColumns-t.col)
	return t
}

// Limits of a task of a blocked convolution.
const (
	bandFloats = 96 << 10 // of input, so that it stays in the second-level cache beside the weights
	convWork   = 2e6      // floating-point operations worth a task
	convTasks  = 16       // more are not needed
)
