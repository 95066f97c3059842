package mlmodel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"coreml/internal/fault"
	"coreml/schema"
)

// Xcode keeps what is edited in a package beside the model file, in JSON files
// that replace the words inside it. The manifest knows them by these names.
const (
	featureOverlay  = "FeatureDescriptions.json"
	metadataOverlay = "Metadata.json"
)

type metadataWords struct {
	Description *string            `json:"MLModelDescriptionKey"`
	Version     *string            `json:"MLModelVersionStringKey"`
	Author      *string            `json:"MLModelAuthorKey"`
	License     *string            `json:"MLModelLicenseKey"`
	UserDefined *map[string]string `json:"MLModelCreatorDefinedKey"`
}

type featureWords map[string]struct {
	ShortDescription string `json:"MLFeatureShortDescription"`
}

type interfaceWords struct {
	Inputs, Outputs, TrainingInputs, States featureWords
}

// applyOverlays puts the words of the package's overlays into d.
func applyOverlays(t *tree, m *manifest, d *schema.Description) error {
	var metadata metadataWords
	if err := readOverlay(t, m, metadataOverlay, &metadata); err != nil {
		return err
	}
	metadata.apply(&d.Metadata)
	var features interfaceWords
	if err := readOverlay(t, m, featureOverlay, &features); err != nil {
		return err
	}
	features.apply(d)
	return nil
}

// readOverlay reads the overlay of a name, which may be absent.
func readOverlay(t *tree, m *manifest, name string, words any) error {
	var items []manifestItem
	for _, item := range m.Items {
		if item.Name == name {
			items = append(items, item)
		}
	}
	switch len(items) {
	case 0:
		return nil
	case 1:
		return decodeOverlay(t, items[0].Path, words)
	}
	return invalid(manifestName, fmt.Sprintf("lists %s %d times", name, len(items)), "one of a kind")
}

func decodeOverlay(t *tree, name string, words any) error {
	if err := checkName(manifestName, name); err != nil {
		return err
	}
	c, err := t.open(path.Join(dataFolder, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer c.Close()
	if err := sniff(c.data); err != nil {
		return at(fault.Quote(name), err)
	}
	if len(c.data) > maxManifestBytes {
		return tooLarge(fault.Quote(name), fmt.Sprintf("has %d bytes", len(c.data)), fmt.Sprintf("at most %d", maxManifestBytes))
	}
	if err := json.Unmarshal(c.data, words); err != nil {
		return &Error{Kind: ErrInvalid, Where: fault.Quote(name), What: "is not an overlay", Cause: jsonError(err)}
	}
	return nil
}

func (w *metadataWords) apply(m *schema.Metadata) {
	set := func(dst *string, src *string) {
		if src != nil {
			*dst = *src
		}
	}
	set(&m.ShortDescription, w.Description)
	set(&m.Version, w.Version)
	set(&m.Author, w.Author)
	set(&m.License, w.License)
	if w.UserDefined != nil {
		m.UserDefined = *w.UserDefined
	}
}

func (w *interfaceWords) apply(d *schema.Description) {
	w.Inputs.apply(d.Inputs)
	w.Outputs.apply(d.Outputs)
	w.States.apply(d.States)
	w.TrainingInputs.apply(d.TrainingInputs)
}

func (w featureWords) apply(features []schema.Feature) {
	for i := range features {
		if words, ok := w[features[i].Name]; ok && words.ShortDescription != "" {
			features[i].ShortDescription = words.ShortDescription
		}
	}
}
