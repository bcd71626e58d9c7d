// `hull img info` in qemu-img's words and JSON keys (QAPI ImageInfo, SnapshotInfo).
#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "tools/hull/img.h"
#include "tools/hull/img_info_contents.h"
#include "tools/hull/img_info_specific.h"

namespace hull::cli {
namespace {

using blockcore::ImageInfo;
using blockcore::qcow2::Header;
using blockcore::qcow2::Snapshot;
using OrderedJson = nlohmann::ordered_json;

// As qemu-img shows a structure: spaces instead of hyphens, each level indented.
std::string facts_text(const OrderedJson& facts, size_t indent) {
  std::string text;
  size_t index = 0;
  for (const auto& [key, value] : facts.items()) {
    std::string name = facts.is_array() ? fmt::format("[{}]", index++) : key;
    std::replace(name.begin(), name.end(), '-', ' ');
    text += fmt::format("{:{}}{}:", "", indent, name);
    if (value.is_structured())
      text += '\n' + facts_text(value, indent + 4);
    else
      text += fmt::format(" {}\n",
                          printable(value.is_string() ? value.get<std::string>() : value.dump()));
  }
  return text;
}

std::string snapshot_line(const Snapshot& snapshot) {
  const std::time_t seconds = snapshot.date_seconds;
  std::tm local{};
  char date[32] = "";
  if (localtime_r(&seconds, &local) != nullptr)
    std::strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", &local);
  const uint64_t clock = snapshot.vm_clock_nanoseconds / 1'000'000;
  return fmt::format(
      "{:<9} {:<16} {:>8}{:>20}{:>13}{:>11}\n", printable(snapshot.id), printable(snapshot.name),
      human_bytes(snapshot.vm_state_bytes), date,
      fmt::format("{:02}:{:02}:{:02}.{:03}", clock / 3'600'000, clock / 60'000 % 60,
                  clock / 1000 % 60, clock % 1000),
      snapshot.instruction_count ? fmt::format("{}", *snapshot.instruction_count) : "");
}

OrderedJson snapshot_json(const Snapshot& snapshot) {
  OrderedJson object = {{"id", snapshot.id},
                        {"name", snapshot.name},
                        {"vm-state-size", snapshot.vm_state_bytes},
                        {"date-sec", snapshot.date_seconds},
                        {"date-nsec", snapshot.date_nanoseconds},
                        {"vm-clock-sec", snapshot.vm_clock_nanoseconds / 1'000'000'000},
                        {"vm-clock-nsec", snapshot.vm_clock_nanoseconds % 1'000'000'000}};
  if (snapshot.instruction_count) object["icount"] = *snapshot.instruction_count;
  return object;
}

OrderedJson qcow2_json(const ImageInfo& info) {
  const Header& header = *info.header;
  OrderedJson object = {{"cluster-size", header.geometry.cluster_bytes()},
                        {"dirty-flag", header.dirty()}};
  object["format-specific"] = {{"type", "qcow2"}, {"data", specific_facts(info)}};
  if (header.encryption_method != 0) object["encrypted"] = true;
  for (const Snapshot& snapshot : info.snapshots)
    object["snapshots"].push_back(snapshot_json(snapshot));
  if (!header.backing_name.empty()) {
    object["backing-filename"] = header.backing_name;
    if (info.backing_path) object["full-backing-filename"] = *info.backing_path;
    if (header.backing_format) object["backing-filename-format"] = *header.backing_format;
  }
  return object;
}

OrderedJson info_object(const ImageInfo& info) {
  OrderedJson object = {{"filename", info.path},
                        {"format", img_format_name(info.format)},
                        {"virtual-size", info.size_bytes}};
  if (info.actual_bytes) {
    object["actual-size"] = *info.actual_bytes;
    object["dirty-flag"] = false;
  }
  if (info.header) object.update(qcow2_json(info));
  return object;
}

std::string backing_text(const ImageInfo& info) {
  const Header& header = *info.header;
  if (header.backing_name.empty()) return "";
  std::string text = fmt::format("backing file: {}", printable(header.backing_name));
  if (!info.backing_path)
    text += " (cannot determine actual path)";
  else if (*info.backing_path != header.backing_name)
    text += fmt::format(" (actual path: {})", printable(*info.backing_path));
  text += '\n';
  if (header.backing_format)
    text += fmt::format("backing file format: {}\n", printable(*header.backing_format));
  return text;
}

std::string qcow2_text(const ImageInfo& info) {
  const Header& header = *info.header;
  std::string text;
  if (header.encryption_method != 0) text += "encrypted: yes\n";
  text += fmt::format("cluster_size: {}\n", header.geometry.cluster_bytes());
  if (header.dirty()) text += "cleanly shut down: no\n";
  text += backing_text(info);
  text += snapshot_list_text(info.snapshots);
  text += "Format specific information:\n";
  text += facts_text(specific_facts(info), 4);
  return text;
}

}  // namespace

std::string human_bytes(uint64_t bytes) {
  constexpr const char* kUnits[] = {"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};
  int exponent = 0;
  std::frexp(static_cast<double>(bytes) / (1000.0 / 1024.0), &exponent);
  const int unit = std::max(0, (exponent - 1) / 10);
  return fmt::format("{:.3g} {}B", static_cast<double>(bytes) / std::exp2(unit * 10), kUnits[unit]);
}

std::string snapshot_list_text(const std::vector<Snapshot>& snapshots) {
  if (snapshots.empty()) return "";
  std::string text = "Snapshot list:\n";
  text += fmt::format("{:<9} {:<16} {:>8}{:>20}{:>13}{:>11}\n", "ID", "TAG", "VM SIZE", "DATE",
                      "VM CLOCK", "ICOUNT");
  for (const Snapshot& snapshot : snapshots) text += snapshot_line(snapshot);
  return text;
}

std::string info_text(const ImageInfo& info) {
  std::string text = fmt::format(
      "image: {}\nfile format: {}\nvirtual size: {} ({} bytes)\ndisk size: {}\n",
      printable(info.path), img_format_name(info.format), human_bytes(info.size_bytes),
      info.size_bytes, info.actual_bytes ? human_bytes(*info.actual_bytes) : "unavailable");
  if (info.header) text += qcow2_text(info);
  return text;
}

std::string info_json(const std::vector<ImageInfo>& chain, bool as_list,
                      const blockcore::DiskContents* contents) {
  OrderedJson list = OrderedJson::array();
  for (const ImageInfo& info : chain) list.push_back(info_object(info));
  if (contents != nullptr) list.front()["contents"] = contents_json(*contents);
  const OrderedJson& value = as_list ? list : list.front();
  // Names come from the image and need not be UTF-8.
  return value.dump(4, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

}  // namespace hull::cli
