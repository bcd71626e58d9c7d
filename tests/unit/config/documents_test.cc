// Whole documents from tests/data/domain, each with the lines that the reader has to say about it.
#include <gtest/gtest.h>

#include <set>

#include "config/domain_reader.h"
#include "tests/support/test_data.h"

namespace hull::config {
namespace {

std::string said_about(const std::filesystem::path& document) {
  const auto reading =
      read_domain(hull::testing::file_contents(document), document.filename().string(), {});
  if (!reading) return "error: " + reading.error().message() + "\n";
  std::string said;
  for (const Finding& finding : reading->warnings) said += "warning: " + finding.text() + "\n";
  for (const Finding& finding : reading->refusals) said += "error: " + finding.text() + "\n";
  return said;
}

TEST(Documents, ReaderSaysWhatIsExpected) {
  const std::filesystem::path directory = hull::testing::test_data_directory() / "domain";
  std::set<std::filesystem::path> documents;
  for (const auto& entry : std::filesystem::directory_iterator(directory))
    if (entry.path().extension() == ".xml") documents.insert(entry.path());
  ASSERT_GE(documents.size(), 5U);
  for (std::filesystem::path document : documents) {
    const std::string said = said_about(document);
    EXPECT_EQ(said, hull::testing::file_contents(document.replace_extension(".txt"))) << document;
  }
}

}  // namespace
}  // namespace hull::config
