// Command gen turns the descriptor set of the Core ML schema into Go code.
//
//	go run ./_gen/main.go coreml.binpb
//
// It runs protoc-gen-go, at the version of go.mod, on a renamed copy of the
// descriptors and writes one .pb.go file per schema file into the current folder.
package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

const goPackage = "coreml/internal/spec"

// A program that links another package with Apple's schema would panic when it
// starts, since the registry of package protobuf takes a file name and a
// message name only once. Neither name is on the wire, so ours get a prefix.
const (
	filePrefix = "coreml/"
	namePrefix = "coreml_go."
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gen descriptors.binpb")
		os.Exit(2)
	}
	if err := generate(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func generate(descriptors string) error {
	raw, err := os.ReadFile(descriptors)
	if err != nil {
		return err
	}
	set := new(descriptorpb.FileDescriptorSet)
	if err := proto.Unmarshal(raw, set); err != nil {
		return err
	}
	request := &pluginpb.CodeGeneratorRequest{
		Parameter: proto.String("module=" + goPackage),
		ProtoFile: set.File,
	}
	for _, file := range set.File {
		rename(file)
		request.FileToGenerate = append(request.FileToGenerate, file.GetName())
	}
	response, err := protocGenGo(request)
	if err != nil {
		return err
	}
	for _, file := range response.File {
		if err := os.WriteFile(path.Base(file.GetName()), []byte(file.GetContent()), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func protocGenGo(request *pluginpb.CodeGeneratorRequest) (*pluginpb.CodeGeneratorResponse, error) {
	in, err := proto.Marshal(request)
	if err != nil {
		return nil, err
	}
	plugin := exec.Command("go", "run", "google.golang.org/protobuf/cmd/protoc-gen-go")
	plugin.Stdin, plugin.Stderr = bytes.NewReader(in), os.Stderr
	out, err := plugin.Output()
	if err != nil {
		return nil, fmt.Errorf("protoc-gen-go: %w", err)
	}
	response := new(pluginpb.CodeGeneratorResponse)
	if err := proto.Unmarshal(out, response); err != nil {
		return nil, err
	}
	if response.Error != nil {
		return nil, fmt.Errorf("protoc-gen-go: %s", response.GetError())
	}
	return response, nil
}

// rename puts the prefixes before the names that file declares and refers to,
// and says which Go package it belongs to.
func rename(file *descriptorpb.FileDescriptorProto) {
	file.Name = proto.String(filePrefix + file.GetName())
	for i := range file.Dependency {
		file.Dependency[i] = filePrefix + file.Dependency[i]
	}
	file.Package = proto.String(namePrefix + file.GetPackage())
	if file.Options == nil {
		file.Options = new(descriptorpb.FileOptions)
	}
	file.Options.GoPackage = proto.String(goPackage)
	for _, message := range file.MessageType {
		renameReferences(message)
	}
}

func renameReferences(message *descriptorpb.DescriptorProto) {
	for _, field := range message.Field {
		if name, ok := strings.CutPrefix(field.GetTypeName(), "."); ok {
			field.TypeName = proto.String("." + namePrefix + name)
		}
	}
	for _, nested := range message.NestedType {
		renameReferences(nested)
	}
}
