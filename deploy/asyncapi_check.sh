#!/bin/sh
# The AsyncAPI initiative's own parser reads the catalogue of events. Needs node, npm and the npm registry, so it is not
# part of the tests: those check the document against AsyncAPI's JSON Schema.
set -eu
document=$(cd "$(dirname "$0")/.." && pwd)/docs/asyncapi/asyncapi.json
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$folder" @asyncapi/parser@3 >/dev/null
cat >check.mjs <<'CHECK'
import { Parser, fromFile } from "@asyncapi/parser";

const { document, diagnostics } = await fromFile(new Parser(), process.argv[2]).parse();
for (const one of diagnostics) console.log(one.severity === 0 ? "error" : "note", one.code, one.path.join("."), one.message);
const wrong = !document || diagnostics.some((one) => one.severity === 0);
console.log(wrong ? "not valid" : `valid AsyncAPI ${document.version()}: ${document.allMessages().length} messages`);
process.exit(wrong ? 1 : 0);
CHECK
node check.mjs "$document"
