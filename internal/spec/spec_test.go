package spec

import (
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

func readDescriptors(t *testing.T) []*descriptorpb.FileDescriptorProto {
	t.Helper()
	raw, err := os.ReadFile("coreml.binpb")
	if err != nil {
		t.Fatal(err)
	}
	set := new(descriptorpb.FileDescriptorSet)
	if err := proto.Unmarshal(raw, set); err != nil {
		t.Fatal(err)
	}
	return set.File
}

// The committed code must be what the committed descriptors generate.
func TestGeneratedCodeMatchesDescriptors(t *testing.T) {
	files := readDescriptors(t)
	if len(files) != 33 {
		t.Errorf("coreml.binpb has %d files, want 33", len(files))
	}
	for _, file := range files {
		generated, err := protoregistry.GlobalFiles.FindFileByPath("coreml/" + file.GetName())
		if err != nil {
			t.Errorf("%s: no generated code: %v", file.GetName(), err)
			continue
		}
		compareMessages(t, file.MessageType, generated.Messages())
	}
}

func compareMessages(t *testing.T, want []*descriptorpb.DescriptorProto, got protoreflect.MessageDescriptors) {
	t.Helper()
	if len(want) != got.Len() {
		t.Errorf("%d messages generated, want %d", got.Len(), len(want))
		return
	}
	for i, w := range want {
		g := got.Get(i)
		if string(g.Name()) != w.GetName() || g.Fields().Len() != len(w.Field) {
			t.Errorf("generated %s with %d fields, want %s with %d", g.FullName(), g.Fields().Len(), w.GetName(), len(w.Field))
			continue
		}
		for j, f := range w.Field {
			field := g.Fields().Get(j)
			if string(field.Name()) != f.GetName() || int32(field.Number()) != f.GetNumber() ||
				int(field.Kind()) != int(f.GetType()) {
				t.Errorf("generated %s, want field %v", field.FullName(), f)
			}
		}
		compareMessages(t, w.NestedType, g.Messages())
	}
}

// A host program may link another package with the same schema; the registry
// would refuse a second file or message of the same name when it starts.
func TestNamesStayOutOfTheWayOfOtherPackages(t *testing.T) {
	var owners int
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if strings.HasPrefix(string(file.Package()), "CoreML.") || file.Path() == "Model.proto" {
			t.Errorf("%s: package %s: registered under Apple's own name", file.Path(), file.Package())
		}
		if strings.HasPrefix(string(file.Package()), "coreml_go.CoreML.Specification") {
			owners++
		}
		return true
	})
	if owners != 33 {
		t.Errorf("%d schema files registered, want 33", owners)
	}
}

func TestUnknownFieldsSurviveARewrite(t *testing.T) {
	raw := []byte{0x08, 9, 0x98, 0x75, 7} // specificationVersion: 9, field 1875: 7
	m := new(Model)
	if err := proto.Unmarshal(raw, m); err != nil {
		t.Fatal(err)
	}
	if m.SpecificationVersion != 9 {
		t.Errorf("specificationVersion = %d, want 9", m.SpecificationVersion)
	}
	again, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if string(again) != string(raw) {
		t.Errorf("rewritten as %x, want %x", again, raw)
	}
}
