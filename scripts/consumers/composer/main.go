// Prints the repositories of FILE as osbuild-composer and image-builder read them, as JSON; exit status 1 where they refuse it.
package main

import (
	"encoding/json"
	"log"
	"os"

	"github.com/osbuild/images/pkg/rpmmd"
)

func main() {
	repositories, err := rpmmd.LoadRepositoriesFromFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	json.NewEncoder(os.Stdout).Encode(repositories)
}
