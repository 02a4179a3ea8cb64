// Prints the registries.yaml in FILE as k3s and RKE2 read it, as JSON; exit status 1 where they refuse it.
package main

import (
	"encoding/json"
	"log"
	"os"

	"github.com/rancher/wharfie/pkg/registries"
)

func main() {
	parsed, err := registries.GetPrivateRegistries(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	json.NewEncoder(os.Stdout).Encode(parsed.Registry)
}
