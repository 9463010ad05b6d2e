/* What the bindings are made from. */
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_log.h>
#include <rte_memory.h>
#include <rte_version.h>

#include "filter.h"
#include "shim.h"
