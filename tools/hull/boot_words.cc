#include "tools/hull/boot_words.h"

#include "config/values.h"
#include "tools/hull/suboptions.h"

namespace hull::cli {

namespace {

using config::BootDevice;

// QEMU's letters for drives.
Result<void> take_letters(std::string_view letters, config::BiosConfig& bios) {
  for (const char letter : letters) {
    if (letter == 'c')
      bios.devices.push_back(BootDevice::kDisk);
    else if (letter == 'd')
      bios.devices.push_back(BootDevice::kCdrom);
    else if (letter == 'n')
      return fail(ErrorKind::kUsage, "n: there is no network boot");
    else
      return fail(ErrorKind::kUsage, "'{}': c is the first disk, d the first CD-ROM", letters);
  }
  return {};
}

Result<void> take_word(const std::string& word, config::BiosConfig& bios) {
  if (word == "network") return fail(ErrorKind::kUsage, "network: there is no network boot");
  if (word == "uefi") return fail(ErrorKind::kUsage, "uefi: there is no UEFI firmware");
  if (word == "hd")
    bios.devices.push_back(BootDevice::kDisk);
  else if (word == "cdrom")
    bios.devices.push_back(BootDevice::kCdrom);
  else
    return take_letters(word, bios);
  return {};
}

Result<uint32_t> milliseconds(const Suboption& option) {
  const auto number = config::parse_number(option.value);
  if (!number || *number > kMaxBootWaitMs)
    return fail(ErrorKind::kUsage, "{}= is a number of milliseconds, 0 to {}", option.key,
                kMaxBootWaitMs);
  return static_cast<uint32_t>(*number);
}

}  // namespace

Result<void> take_boot_words(const std::string& text, config::BiosConfig& bios) {
  bool menu = false;
  uint32_t menu_ms = kDefaultBootMenuMs;
  for (const std::string& part : split_at_commas(text)) {
    const size_t equals = part.find('=');
    if (equals == std::string::npos) {
      TRY(take_word(part, bios));
      continue;
    }
    const Suboption option{.key = part.substr(0, equals), .value = part.substr(equals + 1)};
    if (option.key == "order")
      TRY(take_letters(option.value, bios));
    else if (option.key == "menu")
      menu = TRY(parse_switch(option));
    else if (option.key == "splash-time")
      menu_ms = TRY(milliseconds(option));
    else if (option.key == "reboot-timeout")
      bios.retry_ms = TRY(milliseconds(option));
    else
      return fail(ErrorKind::kUsage, "there is no '{}='", option.key);
  }
  if (menu) bios.menu_ms = menu_ms;
  return {};
}

}  // namespace hull::cli
