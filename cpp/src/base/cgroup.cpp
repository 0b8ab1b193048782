// How much of the CPUs the Linux control groups of this process let it use.
#include <algorithm>
#include <fstream>
#include <initializer_list>
#include <optional>
#include <sstream>
#include <string>

#include "regard/threads.hpp"

namespace regard {
namespace {

#ifdef __linux__
std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::optional<double> ratio(const std::string& quota, const std::string& period) {
  double a = 0, b = 0;  // "max" and "-1" are no quota
  if (!(std::istringstream(quota) >> a) || !(std::istringstream(period) >> b)) return {};
  if (a <= 0 || b <= 0) return {};
  return a / b;
}

/// cpu.max of version 2: "150000 100000", or "max 100000".
std::optional<double> quota_of_v2(const std::string& group) {
  std::istringstream line(first_line(group + "/cpu.max"));
  std::string quota, period;
  line >> quota >> period;
  return ratio(quota, period);
}

std::optional<double> quota_of_v1(const std::string& group) {
  return ratio(first_line(group + "/cpu.cfs_quota_us"), first_line(group + "/cpu.cfs_period_us"));
}

/// Of the group at `path` below a mount and of those around it. In a container the path may be the
/// host's, of which the mount shows only the end: then its root is the container's own group.
template <class QuotaOf>
void narrow(const std::string& mount, std::string path, const QuotaOf& quota_of,
            std::optional<double>& least) {
  while (true) {
    if (path == "/") path.clear();
    const std::optional<double> quota = quota_of(mount + path);
    if (quota) least = std::min(*quota, least.value_or(*quota));
    if (path.empty()) return;
    path.erase(path.find_last_of('/'));
  }
}

bool names_cpu(const std::string& controllers) {
  std::istringstream list(controllers);
  for (std::string name; std::getline(list, name, ',');) {
    if (name == "cpu") return true;
  }
  return false;
}
#endif

}  // namespace

std::optional<double> cgroup_quota([[maybe_unused]] const std::string& root) {
  std::optional<double> least;
#ifdef __linux__
  const std::string mounts = root + "/sys/fs/cgroup";
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "4:cpu,cpuacct:/path"; "0::/path" of v2
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (path.empty() || path.front() != '/') continue;
    if (controllers.empty()) {
      narrow(mounts, path, quota_of_v2, least);
      narrow(mounts + "/unified", path, quota_of_v2, least);
    } else if (names_cpu(controllers)) {
      for (const std::string& mount : {std::string("/cpu"), "/" + controllers}) {
        narrow(mounts + mount, path, quota_of_v1, least);
      }
    }
  }
#endif
  return least;
}

}  // namespace regard
