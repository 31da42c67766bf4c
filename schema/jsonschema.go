package schema

import _ "embed"

//go:embed envelope.schema.json
var envelopeSchema string

// JSONSchema is the JSON form of the envelope as a JSON Schema (draft 2020-12).
// What it refuses [Decode] refuses; docs/envelope.md lists what only Decode can
// say.
func JSONSchema() string { return envelopeSchema }
