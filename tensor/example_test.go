package tensor_test

import (
	"bytes"
	"fmt"
	"log"

	"coreml/tensor"
)

func Example() {
	pixels := tensor.Of([]float32{0, 0.5, 1, 1.5}, 2, 2)
	half, err := pixels.Convert(tensor.Float16)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(half, half.Float32s())

	_, err = tensor.Of([]float32{1, 300}).Convert(tensor.UInt8)
	fmt.Println(err)
	// Output:
	// tensor<fp16, [2, 2]> [0 0.5 1 1.5]
	// tensor: Convert: tensor<fp32, [2]> to uint8: element 1: 300: want 0 to 255
}

func ExampleWriteNpz() {
	var file bytes.Buffer
	err := tensor.WriteNpz(&file, []string{"tokens", "mask"}, map[string]*tensor.Tensor{
		"tokens": tensor.Of([]int32{101, 7, 102}, 1, 3),
		"mask":   tensor.Of([]bool{true, true, false}),
	})
	if err != nil {
		log.Fatal(err)
	}
	archive, err := tensor.ReadNpz(bytes.NewReader(file.Bytes()), int64(file.Len()), 1<<20)
	if err != nil {
		log.Fatal(err)
	}
	for _, name := range archive.Names {
		fmt.Println(name, archive.Tensors[name])
	}
	// Output:
	// tokens tensor<int32, [1, 3]>
	// mask tensor<bool, [3]>
}
