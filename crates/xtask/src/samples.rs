//! The committed samples, read as the operator would read them.

use kkp_upgrade_api::KKPUpgradeObject;
use kkp_upgrade_core::request::Request;
use kkp_upgrade_core::rules::Catalogue;

const SAMPLES: [(&str, &str); 3] = [
    ("minimal", include_str!("../../../deploy/samples/minimal.yaml")),
    ("plan-only", include_str!("../../../deploy/samples/plan-only.yaml")),
    ("full", include_str!("../../../deploy/samples/full.yaml")),
];

#[test]
fn every_sample_can_be_carried_out_and_accepts_only_what_can_be_accepted() {
    let catalogue = Catalogue::embedded().unwrap();
    for (name, text) in SAMPLES {
        let object: KKPUpgradeObject = serde_saphyr::from_str(text).unwrap();
        let spec = object.parse_spec().unwrap();
        let request = Request::try_from(&spec).unwrap();
        assert!(catalogue.release(request.target).is_some(), "{name}: no such release");
        for risk in request.accepted_risks {
            let rule = catalogue
                .rule(&risk.rule)
                .unwrap_or_else(|| panic!("{name}: no rule {}", risk.rule));
            assert!(rule.acceptable, "{name}: {} cannot be accepted", risk.rule);
        }
    }
}
