package main

import (
	"context"
	"fmt"
	"os/exec"
)

// sbomSuffix is what the name of an SBOM has more than that of its binary.
const sbomSuffix = ".cdx.json"

// writeSBOM writes the software bill of materials of a binary beside it, with the modules and the Go that the binary
// itself names. The number and the time that an SBOM usually has would make another file each time.
func writeSBOM(ctx context.Context, tool string, v version, path string) error {
	command := exec.CommandContext(ctx, tool, "bin", "-json", "-std", "-noserial", "-notimestamp",
		"-version", v.tag(), "-output", path+sbomSuffix, path)
	if _, err := output(command); err != nil {
		return fmt.Errorf("writing the SBOM of %s: %w", path, err)
	}
	return nil
}
