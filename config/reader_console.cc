// <serial> and <console>: two descriptions of one serial port.
#include "config/reader_parts.h"
#include "config/values.h"

namespace hull::config {

namespace {

std::string_view target_type(const XmlElement& device) {
  const XmlElement* target = device.child("target");
  return target == nullptr ? std::string_view() : target->value("type");
}

ConsoleKind kind_of(std::string_view type) {
  if (type == "stdio") return ConsoleKind::kStdio;
  if (type == "file") return ConsoleKind::kFile;
  if (type == "unix") return ConsoleKind::kUnix;
  if (type == "pty" || type == "vc") return ConsoleKind::kPty;
  return ConsoleKind::kNull;
}

// A guest that is told console=ttyS1 would say nothing on the port that there is.
void check_target(const XmlElement& device, Findings& findings) {
  const XmlElement* target = device.child("target");
  if (target == nullptr || !device.name.plain("serial")) return;
  if (parse_document_number(target->value("port", "0")).value_or(0) != 0)
    findings.report_computed(*target, "port", "~not the first");
}

void read_source(const XmlElement& device, ConsoleConfig& console, Findings& findings) {
  const XmlElement* source = device.child("source");
  if (source == nullptr) return;
  // A pty's path is where the last run had it.
  if (console.kind == ConsoleKind::kFile || console.kind == ConsoleKind::kUnix)
    console.path = source->value("path");
  console.append = source->value("append") == "on";
  if (device.value("type") == "unix" && source->value("mode", "connect") == "connect") {
    findings.report_computed(*source, {}, "~connecting socket");
    console.kind = ConsoleKind::kNull;
    console.path.clear();
  }
}

}  // namespace

ConsoleChoice choose_console(const XmlElement* devices) {
  ConsoleChoice choice;
  if (devices == nullptr) return choice;
  for (const std::string_view name : {"serial", "console"}) {
    bool first = true;
    for (const XmlElement* device : devices->children_named(name)) {
      const std::string_view type = target_type(*device);
      const bool is_virtio = name == "console" && type != "serial" && !type.empty();
      if (choice.chosen == nullptr) {
        choice.chosen = device;
        choice.virtio = is_virtio;
      } else if (name == "console" && first && !is_virtio) {
        choice.mirrors.push_back(device);
      } else {
        choice.extra.push_back(device);
      }
      first = false;
    }
  }
  return choice;
}

void read_console(const ConsoleChoice& choice, DomainConfig& config, Findings& findings) {
  for (const XmlElement* extra : choice.extra) findings.report_computed(*extra, {}, "~extra");
  if (choice.chosen == nullptr) return;
  const XmlElement& device = *choice.chosen;
  if (choice.virtio) findings.report_computed(device, {}, "~virtio console");
  check_target(device, findings);
  ConsoleConfig console;
  console.kind = kind_of(device.value("type", "pty"));
  read_source(device, console, findings);
  if (const XmlElement* log = device.child("log")) {
    console.log_file = log->value("file");
    console.log_append = log->value("append", "on") != "off";
    if (console.log_file.empty()) findings.invalid(*log, {}, "has no file");
  }
  config.console = std::move(console);
}

}  // namespace hull::config
