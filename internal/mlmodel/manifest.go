package mlmodel

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"coreml/internal/fault"
)

const (
	manifestName     = "Manifest.json"
	dataFolder       = "Data"
	maxManifestBytes = 1 << 20
)

// manifest lists the items of a package. Their paths are relative to its Data folder.
type manifest struct {
	Version string                  `json:"fileFormatVersion"`
	Items   map[string]manifestItem `json:"itemInfoEntries"`
	Root    string                  `json:"rootModelIdentifier"`
}

type manifestItem struct {
	Name   string `json:"name"`
	Author string `json:"author"`
	Path   string `json:"path"`
}

func parseManifest(data []byte) (*manifest, error) {
	const where = manifestName
	if err := sniff(data); err != nil {
		return nil, at(where, err)
	}
	if len(data) > maxManifestBytes {
		return nil, tooLarge(where, fmt.Sprintf("has %d bytes", len(data)), fmt.Sprintf("at most %d", maxManifestBytes))
	}
	m := new(manifest)
	if err := json.Unmarshal(data, m); err != nil {
		return nil, &Error{Kind: ErrInvalid, Where: where, What: "is not a manifest", Cause: jsonError(err)}
	}
	if major, _, _ := strings.Cut(m.Version, "."); major != "1" {
		return nil, unsupported(where, "fileFormatVersion "+fault.Quote(m.Version), "1.0.0")
	}
	if m.Root == "" {
		return nil, invalid(where, "no rootModelIdentifier", "the identifier of the model file")
	}
	root, ok := m.Items[m.Root]
	if !ok {
		return nil, invalid(where, "rootModelIdentifier "+fault.Quote(m.Root)+" is not among the itemInfoEntries", "the identifier of the model file")
	}
	if err := checkName(where, root.Path); err != nil {
		return nil, err
	}
	return m, nil
}

// jsonError says where the JSON stops making sense, without citing the file.
func jsonError(err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("JSON syntax error at byte %d", syntax.Offset)
	}
	var mismatch *json.UnmarshalTypeError
	if errors.As(err, &mismatch) {
		return fmt.Errorf("unexpected JSON value at byte %d", mismatch.Offset)
	}
	return errors.New("not the expected JSON")
}

// modelFile is the name of the model file inside the package.
func (m *manifest) modelFile() string {
	return path.Join(dataFolder, m.Items[m.Root].Path)
}
