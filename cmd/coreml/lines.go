package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
)

// eachLine calls f for every line of r that is not empty, until f fails or ctx
// ends; it does not wait for a read that is under way then. A line may have maxLine bytes.
func eachLine(ctx context.Context, r io.Reader, f func(line string) error) error {
	lines := make(chan string)
	end := make(chan error, 1)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		s := bufio.NewScanner(r)
		s.Buffer(make([]byte, 0, 1<<12), maxLine)
		for s.Scan() {
			select {
			case lines <- s.Text():
			case <-stop:
				return
			}
		}
		end <- s.Err()
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-end:
			if errors.Is(err, bufio.ErrTooLong) {
				return inputError{fmt.Errorf("a line of more than %s", formatBytes(maxLine))}
			}
			return err
		case line := <-lines:
			if line == "" {
				continue
			}
			if err := f(line); err != nil {
				return err
			}
		}
	}
}

// maxLine bounds one line of a protocol.
const maxLine = 1 << 20
