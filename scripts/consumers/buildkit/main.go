// Prints the registries of the buildkitd.toml in FILE as buildkitd reads it, as JSON; exit status 1 where it refuses it.
package main

import (
	"encoding/json"
	"log"
	"os"

	"github.com/moby/buildkit/cmd/buildkitd/config"
)

func main() {
	parsed, err := config.LoadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	json.NewEncoder(os.Stdout).Encode(parsed.Registries)
}
