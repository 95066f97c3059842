//go:build !unix && !windows

package main

import "os"

// terminalWidth is 0: terminals are not told apart from files here.
func terminalWidth(*os.File) int { return 0 }
