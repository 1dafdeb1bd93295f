package main

import (
	"context"
	"fmt"
	"time"

	pb "pointsman/gen/go/inference/v1"
)

// unary asks for a whole answer.
func unary(mesh pb.InferenceServiceClient) error {
	// The deadline of the whole call, everywhere in the mesh.
	ctx, done := context.WithTimeout(context.Background(), 30*time.Second)
	defer done()
	answer, err := mesh.Generate(ctx, question("Hello"))
	if err != nil {
		return err
	}
	for _, part := range answer.GetChoices()[0].GetMessage().GetParts() {
		fmt.Println(part.GetText())
	}
	used := answer.GetUsage()
	fmt.Printf("%s: %d tokens in, %d out\n", answer.GetStarted().GetTarget(), used.GetInputTokens(), used.GetOutputTokens())
	return nil
}
