package mlmodel

import (
	"encoding/json"
	"path"
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
func applyOverlays(t *tree, m *manifest, d *Description) error {
	for _, item := range m.Items {
		var err error
		switch item.Name {
		case metadataOverlay:
			var words metadataWords
			if err = readOverlay(t, item, &words); err == nil {
				words.apply(&d.Metadata)
			}
		case featureOverlay:
			var words interfaceWords
			if err = readOverlay(t, item, &words); err == nil {
				words.apply(d)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func readOverlay(t *tree, item manifestItem, words any) error {
	if err := checkName(manifestName, item.Path); err != nil {
		return err
	}
	c, err := t.open(path.Join(dataFolder, item.Path))
	if err != nil {
		return err
	}
	defer c.Close()
	if err := sniff(c.data); err != nil {
		return at(quote(item.Path), err)
	}
	if len(c.data) > maxManifestBytes {
		return tooLarge(quote(item.Path), "is too large for an overlay", "at most 1 MiB")
	}
	if err := json.Unmarshal(c.data, words); err != nil {
		return &Error{Kind: ErrInvalid, Where: quote(item.Path), What: "is not an overlay", Cause: jsonError(err)}
	}
	return nil
}

func (w *metadataWords) apply(m *Metadata) {
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

func (w *interfaceWords) apply(d *Description) {
	w.Inputs.apply(d.Inputs)
	w.Outputs.apply(d.Outputs)
	w.States.apply(d.States)
	w.TrainingInputs.apply(d.TrainingInputs)
}

func (w featureWords) apply(features []Feature) {
	for i := range features {
		if words, ok := w[features[i].Name]; ok && words.ShortDescription != "" {
			features[i].ShortDescription = words.ShortDescription
		}
	}
}
