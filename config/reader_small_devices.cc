// <rng>, <panic> and <channel>.
#include "config/reader_parts.h"

namespace hull::config {

namespace {

RngConfig read_rng(const XmlElement& device, Findings& findings) {
  RngConfig rng;
  const XmlElement* backend = device.child("backend");
  if (backend == nullptr)
    findings.invalid(device, {}, "has no <backend>");
  else if (backend->value("model") == "random" && !backend->trimmed_text().empty())
    rng.source = backend->trimmed_text();
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
  for (const auto& device : devices.children) {
    if (device->name.plain("rng")) {
      if (config.rng)
        findings.report_computed(*device, {}, "~second");
      else
        config.rng = read_rng(*device, findings);
    } else if (device->name.plain("panic")) {
      config.panic_device = true;
    } else if (device->name.plain("channel")) {
      report_channel(*device, findings);
    }
  }
}

}  // namespace hull::config
