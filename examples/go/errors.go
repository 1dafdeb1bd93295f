package main

import (
	"context"
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "pointsman/gen/go/inference/v1"
)

// errors asks for what cannot be, and reads all that the mesh says about it.
func errors(mesh pb.InferenceServiceClient) error {
	request := question("Hello")
	temperature := 9.0
	request.Sampling = &pb.Sampling{Temperature: &temperature}
	var trailers metadata.MD
	_, err := mesh.Generate(context.Background(), request, grpc.Trailer(&trailers))
	if err == nil {
		return fmt.Errorf("it was answered")
	}
	failed := status.Convert(err)
	fmt.Println(failed.Code())
	for _, detail := range failed.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			fmt.Printf("reason %[1]s: see docs/errors/%[1]s.md\n", detail.GetReason())
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				fmt.Printf("  %s: %s\n", violation.GetField(), violation.GetDescription())
			}
		case *errdetails.RetryInfo:
			fmt.Printf("  worth repeating in %v\n", detail.GetRetryDelay().AsDuration())
		}
	}
	fmt.Println("trace", trailers.Get("x-pointsman-trace-id"))
	return nil
}
