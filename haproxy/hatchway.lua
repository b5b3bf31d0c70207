core.register_action("hatchway_choose", {"http-req"}, function(txn) end)
core.register_action("hatchway_draw", {"http-req"}, function(txn) end)
