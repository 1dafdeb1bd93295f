// The mesh from Go: `go run . unary|stream|cancel|errors|openai [HOST:PORT]`, a file for each.
package main

import (
	"fmt"
	"log"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/local"

	pb "pointsman/gen/go/inference/v1"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("which one? unary, stream, cancel, errors or openai")
	}
	address := "127.0.0.1:8080"
	if len(os.Args) > 2 {
		address = os.Args[2]
	}
	if err := run(os.Args[1], address); err != nil {
		log.Fatal(err)
	}
}

func run(example, address string) error {
	if example == "openai" {
		return openai("http://" + address + "/v1")
	}
	// Plain text, and to this machine only; elsewhere credentials.NewTLS. From grpc-go 1.63 on Dial is also called NewClient.
	connection, err := grpc.Dial(address, grpc.WithTransportCredentials(local.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	mesh := pb.NewInferenceServiceClient(connection)
	switch example {
	case "unary":
		return unary(mesh)
	case "stream":
		return stream(mesh)
	case "cancel":
		return cancel(mesh)
	case "errors":
		return errors(mesh)
	}
	return fmt.Errorf("which one? unary, stream, cancel, errors or openai")
}

// question returns a request with one message of a user.
func question(text string) *pb.GenerateRequest {
	part := &pb.Part{Kind: &pb.Part_Text{Text: text}}
	message := &pb.Message{Role: pb.Role_ROLE_USER, Parts: []*pb.Part{part}}
	return &pb.GenerateRequest{Model: "pip", Messages: []*pb.Message{message}}
}
