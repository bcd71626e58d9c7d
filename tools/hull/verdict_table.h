// `hull validate --table`: what hull does with every element and attribute of a domain document.
#pragma once

namespace hull::cli {

// A line for each row: path, condition, verdict and text, with tabs between them; then one for each
// rule about values: path, "value", and what it has to be.
void print_table_text();
// {"verdicts": [{"path", "when", "verdict", "text", "below", "final", "once", "unique"}…],
//  "values": [{"path", "kind", "words"}…]}; hull-xml(5) and docs/domain-xml.md are made of it.
void print_table_json();

}  // namespace hull::cli
