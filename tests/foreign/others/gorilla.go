// The real gorilla/securecookie: one JSON request a line on stdin, one JSON answer a line on stdout.

package main

import (
	"bufio"
	"crypto/sha1"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"hash"
	"os"

	"github.com/gorilla/securecookie"
)

type request struct {
	Op, Name, Value, Hash, Block, HashFunc string
	Gob                                    bool
	Data                                   map[string]interface{}
}

var hashFuncs = map[string]func() hash.Hash{"sha1": sha1.New, "sha384": sha512.New384, "sha512": sha512.New}

func answer(asked request) (interface{}, error) {
	var block []byte
	if asked.Block != "" {
		block = []byte(asked.Block)
	}
	codec := securecookie.New([]byte(asked.Hash), block)
	if hashFunc := hashFuncs[asked.HashFunc]; hashFunc != nil {
		codec.HashFunc(hashFunc)
	}
	if asked.Gob {
		return codec.Encode(asked.Name, map[string]string{"a": "b"})
	}
	codec.SetSerializer(securecookie.JSONEncoder{})
	if asked.Op == "write" {
		return codec.Encode(asked.Name, asked.Data)
	}
	found := map[string]interface{}{}
	err := codec.Decode(asked.Name, asked.Value, &found)
	return found, err
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(make([]byte, 0, 1<<16), 1<<24)
	for lines.Scan() {
		var asked request
		var result interface{}
		err := json.Unmarshal(lines.Bytes(), &asked)
		if err == nil {
			result, err = answer(asked)
		}
		said := map[string]interface{}{"result": result}
		if err != nil {
			said = map[string]interface{}{"error": err.Error()}
		}
		text, _ := json.Marshal(said)
		fmt.Println(string(text))
	}
}
