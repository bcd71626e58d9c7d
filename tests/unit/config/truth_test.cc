// The verdict table is true: what it calls honoured makes a difference, and what it warns of or
// refuses is said.
#include <gtest/gtest.h>

#include <set>

#include "config/value_rows.h"
#include "config/verdicts.h"
#include "config/xml.h"
#include "tests/support/config_text.h"
#include "tests/support/domain_document.h"
#include "tests/support/test_data.h"

namespace hull::config {
namespace {

using hull::testing::config_text;
using hull::testing::lines;

struct Node {
  const XmlElement* element;
  std::string attribute;  // empty: the element
};

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '<')
      out += "&lt;";
    else if (c == '&')
      out += "&amp;";
    else if (c == '\'')
      out += "&apos;";
    else
      out += c;
  }
  return out;
}

// The element without `left_out`.
std::string written(const XmlElement& element, const Node& left_out) {
  if (left_out.element == &element && left_out.attribute.empty()) return {};
  std::string out = "<" + element.name.local;
  for (const XmlAttribute& attribute : element.attributes)
    if (left_out.element != &element || left_out.attribute != attribute.name.local)
      out += fmt::format(" {}='{}'", attribute.name.local, escaped(attribute.value));
  out += ">" + escaped(element.text);
  for (const auto& child : element.children) out += written(*child, left_out);
  return out + "</" + element.name.local + ">";
}

// All that can be observed of a reading: the machine that would be built, and what is said. A UUID
// that is made up differs each time.
std::string observed(const std::string& document) {
  auto reading = read_domain(document, "d.xml", {});
  if (!reading) return reading.error().message();
  if (document.find("<uuid>") == std::string::npos) {
    reading->config.uuid.clear();
    for (NetworkConfig& network : reading->config.networks) network.mac = {};
  }
  return config_text(reading->config) + lines(reading->refusals);
}

void collect(const XmlElement& element, std::vector<Node>& nodes) {
  nodes.push_back({&element, {}});
  for (const XmlAttribute& attribute : element.attributes)
    nodes.push_back({&element, attribute.name.local});
  for (const auto& child : element.children) collect(*child, nodes);
}

const VerdictRow* row_of(const Node& node) {
  const std::string_view value =
      node.attribute.empty() ? node.element->trimmed_text() : node.element->value(node.attribute);
  return find_verdict(verdict_path(*node.element, node.attribute), value, *node.element);
}

// Rows of nodes without which a document of tests/data/domain/honoured is another one.
std::set<const VerdictRow*> rows_that_matter() {
  std::set<const VerdictRow*> rows;
  const auto directory = hull::testing::test_data_directory() / "domain" / "honoured";
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const std::string document = hull::testing::file_contents(entry.path());
    const auto root = parse_xml(document, "d.xml");
    EXPECT_TRUE(root) << entry.path();
    if (!root) continue;
    const std::string whole = observed(written(**root, {}));
    const auto reading = read_domain(document, "d.xml", {});
    EXPECT_EQ(lines(reading->refusals) + lines(reading->warnings), "") << entry.path();
    std::vector<Node> nodes;
    collect(**root, nodes);
    for (const Node& node : nodes)
      if (const VerdictRow* row = row_of(node); row && !rows.contains(row))
        if (observed(written(**root, node)) != whole) rows.insert(row);
  }
  return rows;
}

TEST(Truth, WhatIsHonouredMakesADifference) {
  const auto matter = rows_that_matter();
  for (const auto group : verdict_groups())
    for (const VerdictRow& row : group)
      if (row.verdict == Verdict::kHonour) {
        EXPECT_TRUE(matter.contains(&row))
            << row.pattern << " " << row.when
            << ": no document in tests/data/domain/honoured is another one without it";
      }
}

// Documents for rows that depend on more than their own node, by pattern and condition.
struct Example {
  std::string_view pattern, when;
  std::string_view devices, general = {};
};

std::vector<Example> examples() {
  return {
      {"/domain/cpu", "~full check of a custom model", "",
       "<cpu mode='custom' check='full'><model>qemu64</model></cpu>"},
      {"/domain/cpu/model", "~custom", "", "<cpu><model>qemu64</model></cpu>"},
      {"/domain/cpu/topology", "~other than cores of one socket", "",
       "<vcpu>2</vcpu><cpu><topology sockets='2' cores='1' threads='1'/></cpu>"},
      {"/domain/cpu/numa", "~more than one cell", "",
       "<cpu><numa><cell id='0' memory='131072'/><cell id='1' memory='131072'/></numa></cpu>"},
      {"/domain/devices/serial", "~extra", "<serial type='pty'/><serial type='pty'/>"},
      {"/domain/devices/serial", "~virtio console",
       "<console type='pty'><target type='virtio'/></console>"},
      {"/domain/devices/serial/source", "~connecting socket",
       "<serial type='unix'><source path='/s'/></serial>"},
      {"/domain/devices/serial/target/@port", "~not the first",
       "<serial type='pty'><target port='1'/></serial>"},
      {"/domain/devices/channel", "~guest agent",
       "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"},
      {"/domain/devices/channel", "~other", "<channel type='unix'><target name='x'/></channel>"},
      {"/domain/devices/rng", "~second",
       "<rng model='virtio'><backend model='random'/></rng>"
       "<rng model='virtio'><backend model='random'/></rng>"},
      {"/domain/devices/rng/backend", "~another source",
       "<rng model='virtio'><backend model='random'>/dev/hwrng</backend></rng>"},
      {"/domain/devices/interface/mtu/@size", "~more than user mode has",
       "<interface type='user'><model type='virtio'/><mtu size='65520'/></interface>"},
      {"/domain/devices/interface/ip", "~not user mode",
       "<interface type='ethernet'><model type='virtio'/><ip address='10.0.0.1'/></interface>"},
      {"/domain/devices/interface/ip/@family", "~user mode",
       "<interface type='user'><model type='virtio'/><ip family='ipv6' address='fd00::1'/>"
       "</interface>"},
      {"/domain/devices/interface/portForward", "~not user mode",
       "<interface type='ethernet'><model type='virtio'/><portForward proto='tcp'/></interface>"},
      {"/domain/devices/interface/portForward", "~all ports",
       "<interface type='user'><model type='virtio'/><portForward proto='tcp'/></interface>"},
      {"/domain/devices/interface/portForward/@address", "~not IPv4",
       "<interface type='user'><model type='virtio'/>"
       "<portForward proto='tcp' address='::1'><range start='1'/></portForward></interface>"},
      {"/domain/devices/disk/@type", "~not nbd",
       "<disk type='network'><source protocol='rbd' name='x'/><target dev='vda'/></disk>"},
      {"/domain/devices/disk/@device", "~cdrom",
       "<disk device='cdrom'><source file='/d'/><target dev='vda'/></disk>"},
      {"/domain/devices/disk/@device", "~floppy with media",
       "<disk device='floppy'><source file='/d'/><target dev='fda'/></disk>"},
      {"/domain/devices/disk/driver/@queues", "~several",
       "<disk><driver queues='2'/><source file='/d'/><target dev='vda'/></disk>"},
      {"/domain/devices/disk/source", "~optional and absent",
       "<disk><source file='/no/such/file' startupPolicy='optional'/><target dev='vda'/></disk>"},
      {"/domain/devices/disk/source/@tls", "~nbd",
       "<disk type='network'><source protocol='nbd' tls='yes'><host name='h'/></source>"
       "<target dev='vda'/></disk>"},
      {"/domain/devices/disk/source/reconnect", "~nbd",
       "<disk type='network'><source protocol='nbd'><host name='h'/><reconnect delay='1'/>"
       "</source><target dev='vda'/></disk>"},
      {"/domain/devices/disk/backingStore/@type", "~not nbd",
       "<disk><driver type='qcow2'/><source file='/d'/><target dev='vda'/>"
       "<backingStore type='network'><format type='raw'/><source protocol='rbd'/></backingStore>"
       "</disk>"},
      {"/domain/devices/disk/backingStore/source/@tls", "~nbd",
       "<disk><driver type='qcow2'/><source file='/d'/><target dev='vda'/>"
       "<backingStore type='network'><format type='raw'/><source protocol='nbd' tls='yes'>"
       "<host name='h'/></source></backingStore></disk>"},
      {"/domain/devices/disk/backingStore/source/reconnect", "~nbd",
       "<disk><driver type='qcow2'/><source file='/d'/><target dev='vda'/>"
       "<backingStore type='network'><format type='raw'/><source protocol='nbd'>"
       "<host name='h'/><reconnect delay='1'/></source></backingStore></disk>"},
      {"/domain/devices/disk/target/@dev", "~bus inferred",
       "<disk><source file='/d'/><target dev='sda'/></disk>"},
      {"/domain/devices/disk/target/@bus", "~cdrom",
       "<disk device='cdrom'><source file='/d'/><target dev='sda' bus='sata'/></disk>"},
      {"/domain/devices/disk/target/@bus", "~not virtio",
       "<disk><source file='/d'/><target dev='sda' bus='sata'/></disk>"},
      {"/domain/devices/disk/serial", "~too long",
       "<disk><source file='/d'/><target dev='vda'/><serial>123456789012345678901</serial></disk>"},
      {"/domain/devices/disk/iotune", "~group",
       "<disk><source file='/d'/><target dev='vda'/><iotune><group_name>g</group_name></iotune>"
       "</disk>"},
      {"/domain/currentMemory", "~less than memory", "", "<currentMemory>4096</currentMemory>"},
      {"/domain/memoryBacking/hugepages/page", "~size other than 2 MiB", "",
       "<memoryBacking><hugepages><page size='1' unit='G'/></hugepages></memoryBacking>"},
      {"/domain/os/firmware/feature", "~secure boot enabled", "",
       "<os><type>hvm</type><firmware><feature name='secure-boot' enabled='yes'/></firmware></os>"},
      {"/domain/os/@firmware", "~efi alone", "", "<os firmware='efi'><type>hvm</type></os>"},
      {"/domain/os/@firmware", "~beside a kernel", "",
       "<os firmware='efi'><type>hvm</type><kernel>/k</kernel></os>"},
      {"/domain/os/loader", "~flash alone", "",
       "<os><type>hvm</type><loader type='pflash'>/f</loader></os>"},
      {"/domain/os/loader", "~beside a kernel", "",
       "<os><type>hvm</type><kernel>/k</kernel><loader>/f</loader></os>"},
      {"/domain/sysinfo", "~firmware configuration for ignition", "",
       "<sysinfo type='fwcfg'><entry name='opt/ignition/x'/></sysinfo>"},
      {"/domain/clock/timer", "~kvmclock absent", "",
       "<clock offset='utc'><timer name='kvmclock' present='no'/></clock>"},
      {"/domain/clock/timer", "~TSC frequency", "",
       "<clock offset='utc'><timer name='tsc' frequency='1'/></clock>"},
      {"/domain/devices/interface", "~no model", "<interface type='null'/>"},
      {"/domain/devices/interface/driver", "~several queues",
       "<interface type='null'><driver queues='2'/></interface>"},
      {"/domain/devices/interface/mac/@address", "~used twice",
       "<interface type='null'><mac address='52:54:00:00:00:01'/></interface>"
       "<interface type='null'><mac address='52:54:00:00:00:01'/></interface>"},
      {"/domain/numatune/memory", "", "", "<numatune><memory mode='preferred'/></numatune>"},
      {"/domain/numatune/memnode", "", "", "<numatune><memnode mode='preferred'/></numatune>"},
      {"/domain/features/msrs", "", "", "<features><msrs unknown='ignore'/></features>"},
      {"/domain/cpu/feature", "", "", "<cpu><feature policy='forbid' name='vmx'/></cpu>"},
      {"/domain/devices/panic", "", "<panic model='hyperv'/>"},
      {"/domain/devices/interface/backend", "",
       "<interface type='null'><backend type='other'/></interface>"},
  };
}

bool is_said(const VerdictRow& row, const std::string& document) {
  const auto reading = read_domain(document, "d.xml", {});
  if (!reading) return false;
  const std::string said = lines(reading->warnings) + lines(reading->refusals);
  return said.find(row.text) != std::string::npos;
}

// "<a><b …>value</b></a>" for the steps behind /domain, with one attribute or text at the end.
std::string nested(std::string_view path, std::string_view attributes, std::string_view text) {
  const size_t slash = path.find('/');
  std::string name(path.substr(0, slash));
  std::string declared;
  if (name.starts_with("qemu:")) declared = fmt::format(" xmlns:qemu='{}'", kQemuNamespace);
  if (slash != std::string_view::npos)
    return fmt::format("<{}{}>{}</{}>", name, declared,
                       nested(path.substr(slash + 1), attributes, text), name);
  return fmt::format("<{}{} {}>{}</{}>", name, declared, attributes, text, name);
}

std::string document_of(std::string_view path, std::string_view attributes, std::string_view text) {
  if (path == "/domain") return fmt::format("<domain {}><name>a</name></domain>", attributes);
  return fmt::format("<domain type='kvm'><name>a</name><memory>262144</memory>{}</domain>",
                     nested(path.substr(std::string_view("/domain/").size()), attributes, text));
}

std::vector<std::string> split(std::string_view words) {
  std::vector<std::string> all;
  for (;;) {
    const size_t bar = words.find('|');
    all.emplace_back(words.substr(0, bar));
    if (bar == std::string_view::npos) return all;
    words.remove_prefix(bar + 1);
  }
}

// Values with which a row may come up: those that it lists, or any at all.
std::vector<std::string> candidates(const VerdictRow& row) {
  if (!row.when.empty() && row.when[0] != '@') return split(row.when);
  std::vector<std::string> values = {"", "1", "yes", "on", "off", "x", "0,1"};
  for (const auto group : value_groups())
    for (const ValueRow& known : group)
      if (row.pattern.starts_with(known.base))
        for (const std::string& word : split(known.words)) values.push_back(word);
  return values;
}

bool comes_up(const VerdictRow& row) {
  const size_t at = row.pattern.rfind("/@");
  const std::string_view path = row.pattern.substr(0, at);
  for (const std::string& value : candidates(row)) {
    std::string attributes;
    if (at != std::string_view::npos)
      attributes = fmt::format("{}='{}'", row.pattern.substr(at + 2), value);
    if (row.when.starts_with('@')) {
      const size_t equals = row.when.find('=');
      const std::string wanted = split(row.when.substr(equals + 1)).front();
      attributes =
          wanted.empty() ? "" : fmt::format("{}='{}'", row.when.substr(1, equals - 1), wanted);
    }
    if (is_said(row, document_of(path, attributes, at == std::string_view::npos ? value : "")))
      return true;
  }
  return false;
}

TEST(Truth, WarningsAndRefusalsAreSaid) {
  for (const auto group : verdict_groups())
    for (const VerdictRow& row : group) {
      if (row.verdict != Verdict::kWarn && row.verdict != Verdict::kRefuse) continue;
      bool said = false;
      for (const Example& example : examples())
        if (example.pattern == row.pattern && example.when == row.when)
          said = is_said(row, fmt::format("<domain type='kvm'><name>a</name><memory>262144</memory>"
                                          "{}<devices>{}</devices></domain>",
                                          example.general, example.devices));
      EXPECT_TRUE(said || comes_up(row)) << row.pattern << " " << row.when;
    }
}

TEST(Truth, WhatIsSilentOrHonouredIsNotSaid) {
  // A row that only notes something is not mistaken for a warning.
  for (const auto group : verdict_groups())
    for (const VerdictRow& row : group)
      if (row.verdict == Verdict::kSilent && !row.text.empty() && row.when.empty()) {
        const std::string document =
            document_of(row.pattern.substr(0, row.pattern.rfind("/@")), "", "");
        const auto reading = read_domain(document, "d.xml", {});
        if (reading) {
          EXPECT_EQ(lines(reading->warnings).find(fmt::format("{}: {}", row.pattern, row.text)),
                    std::string::npos)
              << row.pattern;
        }
      }
}

}  // namespace
}  // namespace hull::config
