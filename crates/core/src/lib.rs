//! Pure core of the KKPUpgrade operator: phases, versions, facts, rules, plan, decisions, conditions.
