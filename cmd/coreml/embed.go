package main

import (
	"embed"
	"fmt"
	"io"
)

// embedded holds basic-pitch, the network that predict runs when no model is
// named, with its licence, its notice and where it comes from, and a clip for it.
//
//go:embed embedded/nmp.mlpackage embedded/clip.wav embedded/LICENSE embedded/NOTICE embedded/PROVENANCE.md
var embedded embed.FS

const (
	embeddedModel = "embedded/nmp.mlpackage"
	embeddedClip  = "embedded/clip.wav"
	embeddedTitle = "basic-pitch 0.4.0 by Spotify, Apache-2.0"
)

// printLicence prints what the embedded network's licence asks to be handed on.
func printLicence(w io.Writer) error {
	for _, name := range []string{"PROVENANCE.md", "NOTICE", "LICENSE"} {
		text, err := embedded.ReadFile("embedded/" + name)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%s\n", text); err != nil {
			return err
		}
	}
	return nil
}
