package schema

import _ "embed"

//go:embed envelope.schema.json
var envelopeSchema string

// JSONSchema is the JSON form of the envelope as a JSON Schema (draft 2020-12).
// [Decode] refuses what it refuses; docs/envelope.md lists the rules that only
// Decode checks.
func JSONSchema() string { return envelopeSchema }
