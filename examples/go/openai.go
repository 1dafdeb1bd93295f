package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

type event struct {
	Choices []struct {
		Delta struct {
			Content string `json:"content"`
		} `json:"delta"`
	} `json:"choices"`
	Error *failure `json:"error"`
}

type failure struct {
	Message string `json:"message"`
	Code    string `json:"code"`
}

// openai reads a stream of the OpenAI surface with nothing but net/http, and then an error.
func openai(base string) error {
	if err := tell(base, map[string]any{"model": "pip", "messages": hello, "stream": true}); err != nil {
		return err
	}
	fmt.Println(tell(base, map[string]any{"model": "nobody", "messages": hello, "stream": true}))
	return nil
}

var hello = []map[string]string{{"role": "user", "content": "Hello"}}

func tell(base string, body map[string]any) error {
	encoded, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequest(http.MethodPost, base+"/chat/completions", bytes.NewReader(encoded))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	// A key of the mesh, where one is needed.
	request.Header.Set("Authorization", "Bearer none")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	// Whoever closes it before the end stops the model.
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return refused(response)
	}
	return read(response.Body)
}

// refused reads an error that came before the answer began.
func refused(response *http.Response) error {
	var told event
	if err := json.NewDecoder(response.Body).Decode(&told); err != nil || told.Error == nil {
		return fmt.Errorf("status %s", response.Status)
	}
	reason, trace := response.Header.Get("x-pointsman-reason"), response.Header.Get("x-pointsman-trace-id")
	return fmt.Errorf("%d %s: %s (trace %s)", response.StatusCode, reason, told.Error.Message, trace)
}

// read prints the pieces of an answer. Without `[DONE]` it is not whole.
func read(body io.Reader) error {
	lines := bufio.NewReader(body)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return fmt.Errorf("the stream broke: %w", err)
		}
		// Other lines are comments, which keep the connection open, and event ids.
		if !strings.HasPrefix(line, "data: ") {
			continue
		}
		data := strings.TrimSpace(strings.TrimPrefix(line, "data: "))
		if data == "[DONE]" {
			fmt.Println()
			return nil
		}
		var piece event
		if err := json.Unmarshal([]byte(data), &piece); err != nil {
			return err
		}
		if piece.Error != nil {
			return fmt.Errorf("%s: %s", piece.Error.Code, piece.Error.Message)
		}
		for _, choice := range piece.Choices {
			fmt.Print(choice.Delta.Content)
		}
	}
}
