package main

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc/status"

	pb "pointsman/gen/go/inference/v1"
)

// cancel reads a few pieces of an answer and leaves. The model stops at once.
func cancel(mesh pb.InferenceServiceClient) error {
	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	frames, err := mesh.GenerateStream(ctx, question("Tell me a story."))
	if err != nil {
		return err
	}
	for count := 0; count < 6; count++ {
		frame, err := frames.Recv()
		if err != nil {
			return err
		}
		fmt.Print(frame.GetDelta().GetText())
	}
	leave()
	for err == nil {
		_, err = frames.Recv()
	}
	// CANCELLED is spelt with one l in Go.
	fmt.Printf(" … %s\n", strings.Replace(strings.ToLower(status.Code(err).String()), "canceled", "cancelled", 1))
	return nil
}
