// <rng>, <panic> and <channel>.
#include "config/reader_parts.h"

namespace hull::config {

namespace {

// Both names mean the generator that getrandom() reads; libvirt's default is one of them.
void check_source(const XmlElement& backend, Findings& findings) {
  const std::string_view path = backend.trimmed_text();
  if (!path.empty() && path != "/dev/urandom" && path != "/dev/random")
    findings.report_computed(backend, {}, "~another source", path);
}

RngConfig read_rng(const XmlElement& device, Findings& findings) {
  RngConfig rng;
  const XmlElement* backend = device.child("backend");
  if (backend == nullptr)
    findings.invalid(device, {}, "has no <backend>");
  else if (backend->value("model") == "random")
    check_source(*backend, findings);
  const XmlElement* rate = device.child("rate");
  if (rate == nullptr) return rng;
  rng.rate_bytes = read_number(*rate, "bytes", 0, UINT32_MAX, findings).value_or(0);
  rng.rate_period_ms = static_cast<uint32_t>(
      read_number(*rate, "period", 1, UINT32_MAX, findings).value_or(rng.rate_period_ms));
  return rng;
}

void report_channel(const XmlElement& channel, Findings& findings) {
  const std::string_view type = channel.value("type");
  // These carry a graphical session, which a headless guest does not have.
  for (const std::string_view silent : {"spicevmc", "spiceport", "qemu-vdagent", "dbus"})
    if (type == silent) return;
  const XmlElement* target = channel.child("target");
  const bool agent = target != nullptr && target->value("name") == "org.qemu.guest_agent.0";
  findings.report_computed(channel, {}, agent ? "~guest agent" : "~other");
}

}  // namespace

void read_small_devices(const XmlElement& devices, DomainConfig& config, Findings& findings) {
  for (const XmlElement* rng : devices.children_named("rng")) {
    if (config.rng)
      findings.report_computed(*rng, {}, "~second");
    else
      config.rng = read_rng(*rng, findings);
  }
  config.panic_device = devices.child("panic") != nullptr;
  for (const XmlElement* channel : devices.children_named("channel"))
    report_channel(*channel, findings);
}

}  // namespace hull::config
