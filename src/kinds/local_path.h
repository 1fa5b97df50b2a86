/* What marks a volume of the storage class `local-path`: shared by the controller that makes such volumes, the rule that lets a node remove
 * them, and the node's own half. The first two names are those of Rancher's provisioner, so that tools that know it know ours; the third
 * tells ours from volumes that its original made in the same cluster. */
#pragma once

#define LOCAL_PATH_PROVISIONER "rancher.io/local-path"
#define LOCAL_PATH_NODE "local.path.provisioner/selected-node"
#define LOCAL_PATH_MANAGED "sampan.io/local-path"
