#include "tools/hull/img_info_contents.h"

#include <nlohmann/json.hpp>

#include "tools/hull/img.h"

namespace hull::cli {
namespace {

using blockcore::DiskContents;
using blockcore::FileSystem;
using blockcore::Partition;
using blockcore::PartitionTable;
using OrderedJson = nlohmann::ordered_json;

// "ext4 'root' 0fc63daf-…"
std::string file_system_text(const std::optional<FileSystem>& found) {
  if (!found) return "nothing known";
  std::string text = found->type;
  if (!found->version.empty()) text += fmt::format(" ({})", found->version);
  if (!found->label.empty()) text += fmt::format(" '{}'", found->label);
  if (!found->uuid.empty()) text += ' ' + found->uuid;
  return text;
}

std::string partition_text(const Partition& partition, const std::optional<FileSystem>& found) {
  std::string text = fmt::format("    [{}]: {} at {}, type {}", partition.number,
                                 human_bytes(partition.length_bytes),
                                 human_bytes(partition.offset_bytes), partition.type);
  if (!partition.name.empty()) text += fmt::format(" '{}'", partition.name);
  if (partition.active) text += ", active";
  return text + fmt::format(": {}\n", file_system_text(found));
}

OrderedJson file_system_json(const FileSystem& found) {
  OrderedJson facts = {{"type", found.type}};
  if (!found.version.empty()) facts["version"] = found.version;
  if (!found.label.empty()) facts["label"] = found.label;
  if (!found.uuid.empty()) facts["uuid"] = found.uuid;
  return facts;
}

OrderedJson partition_json(const Partition& partition, const std::optional<FileSystem>& found) {
  OrderedJson facts = {{"number", partition.number},
                       {"offset", partition.offset_bytes},
                       {"length", partition.length_bytes},
                       {"type", partition.type}};
  if (!partition.name.empty()) facts["name"] = partition.name;
  if (!partition.uuid.empty()) facts["uuid"] = partition.uuid;
  facts["active"] = partition.active;
  if (found) facts["content"] = file_system_json(*found);
  return facts;
}

OrderedJson table_json(const DiskContents& contents) {
  const PartitionTable& table = *contents.table;
  OrderedJson facts = {{"type", table.type}};
  if (!table.uuid.empty()) facts["uuid"] = table.uuid;
  facts["partitions"] = OrderedJson::array();
  for (size_t i = 0; i < table.partitions.size(); ++i)
    facts["partitions"].push_back(partition_json(table.partitions[i], contents.file_systems[i]));
  if (!table.remarks.empty()) facts["remarks"] = table.remarks;
  return facts;
}

}  // namespace

std::string contents_text(const DiskContents& contents) {
  std::string text;
  if (contents.whole || !contents.table)
    text += fmt::format("contents: {}\n", file_system_text(contents.whole));
  if (!contents.table) return text;
  const PartitionTable& table = *contents.table;
  text += fmt::format("partition table: {}{}{}\n", table.type, table.uuid.empty() ? "" : " ",
                      table.uuid);
  for (size_t i = 0; i < table.partitions.size(); ++i)
    text += partition_text(table.partitions[i], contents.file_systems[i]);
  for (const std::string& remark : table.remarks) text += fmt::format("    {}\n", remark);
  return text;
}

OrderedJson contents_json(const DiskContents& contents) {
  OrderedJson facts = OrderedJson::object();
  if (contents.whole) facts["content"] = file_system_json(*contents.whole);
  if (contents.table) facts["partition-table"] = table_json(contents);
  return facts;
}

}  // namespace hull::cli
