// <os>: what the guest is started from.
#include "config/reader_parts.h"
#include "config/values.h"

namespace hull::config {

namespace {

bool enables_secure_boot(const XmlElement& feature) {
  return feature.value("name") == "secure-boot" && feature.value("enabled") == "yes";
}

void read_kernel(const XmlElement& os, BootConfig& boot) {
  if (const XmlElement* kernel = os.child("kernel"))
    set_kernel(boot, kernel->trimmed_text());
  else
    boot.kind = BootKind::kBios;
  if (const XmlElement* initrd = os.child("initrd")) boot.initrd = initrd->trimmed_text();
  if (const XmlElement* cmdline = os.child("cmdline")) boot.cmdline = cmdline->text;
}

// UEFI is what hull does not have: a document that asks for it may still be started by its kernel.
void judge_firmware(const XmlElement& os, bool has_kernel, BiosConfig& bios, Findings& findings) {
  if (os.value("firmware") == "efi")
    findings.report_computed(os, "firmware", has_kernel ? "~beside a kernel" : "~efi alone");
  if (const XmlElement* firmware = os.child("firmware"))
    for (const XmlElement* feature : firmware->children_named("feature"))
      if (enables_secure_boot(*feature))
        findings.report_computed(*feature, {}, "~secure boot enabled");
  const XmlElement* loader = os.child("loader");
  if (loader == nullptr) return;
  if (has_kernel)
    findings.report_computed(*loader, {}, "~beside a kernel");
  else if (loader->value("type") == "pflash")
    findings.report_computed(*loader, {}, "~flash alone");
  else
    bios.image = loader->trimmed_text();
}

void read_boot_devices(const XmlElement& os, BiosConfig& bios) {
  for (const XmlElement* boot : os.children_named("boot")) {
    const std::string_view device = boot->value("dev");
    if (device == "hd") bios.devices.push_back(BootDevice::kDisk);
    if (device == "cdrom") bios.devices.push_back(BootDevice::kCdrom);
  }
  // As libvirt fills it in.
  if (bios.devices.empty()) bios.devices.push_back(BootDevice::kDisk);
}

void read_waits(const XmlElement& os, BiosConfig& bios, Findings& findings) {
  if (const XmlElement* menu = os.child("bootmenu")) {
    const auto timeout = read_number(*menu, "timeout", 0, kMaxBootWaitMs, findings);
    if (menu->value("enable") == "yes")
      bios.menu_ms = static_cast<uint32_t>(timeout.value_or(kDefaultBootMenuMs));
  }
  const XmlElement* options = os.child("bios");
  if (options == nullptr) return;
  bios.serial_console = options->value("useserial") != "no";
  if (options->value("rebootTimeout") == "-1") return;
  if (const auto timeout = read_number(*options, "rebootTimeout", 0, kMaxBootWaitMs, findings))
    bios.retry_ms = static_cast<uint32_t>(*timeout);
}

}  // namespace

void read_boot(const XmlElement& root, BootConfig& boot, Findings& findings) {
  const XmlElement* os = root.child("os");
  if (os == nullptr) return;
  if (os->child("type") == nullptr) findings.invalid(*os, {}, "has no <type>hvm</type>");
  read_kernel(*os, boot);
  judge_firmware(*os, boot.kind != BootKind::kBios, boot.bios, findings);
  if (boot.kind != BootKind::kBios) return;
  read_boot_devices(*os, boot.bios);
  read_waits(*os, boot.bios, findings);
}

std::optional<unsigned> read_boot_order(const XmlElement& device, const XmlElement& root,
                                        Findings& findings) {
  const XmlElement* boot = device.child("boot");
  if (boot == nullptr) return std::nullopt;
  const auto order = read_number(*boot, "order", 1, UINT32_MAX, findings);
  const XmlElement* os = root.child("os");
  if (os != nullptr && os->child("boot") != nullptr)
    findings.invalid(*boot, {}, "the order of devices stands in <os><boot> already");
  return order ? std::optional(static_cast<unsigned>(*order)) : std::nullopt;
}

}  // namespace hull::config
