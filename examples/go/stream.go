package main

import (
	"context"
	"fmt"
	"io"

	pb "pointsman/gen/go/inference/v1"
)

// stream reads an answer as it is made.
func stream(mesh pb.InferenceServiceClient) error {
	// Whoever leaves early cancels, or the call goes on.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	frames, err := mesh.GenerateStream(ctx, question("Tell me a story."))
	if err != nil {
		return err
	}
	for {
		frame, err := frames.Recv()
		// Only after `finished`. Any other error means that the stream broke, and that what was printed is not the whole answer.
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch body := frame.GetBody().(type) {
		case *pb.Frame_Delta:
			fmt.Print(body.Delta.GetText())
		case *pb.Frame_Usage:
			fmt.Printf("\n%d tokens\n", body.Usage.GetOutputTokens())
		}
	}
}
